#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// Which two coordinates of a head turn together.
enum class PairLayout {
  HalfSplit,    ///< p and p + P, as Hugging Face models store them
  Interleaved,  ///< 2p and 2p + 1, as Meta's, llama2.c and GGUF files do
};

/// What rotary positions do in sequences of more tokens than a length: LongRoPE turns all tokens of such a
/// sequence by other frequencies, dynamic scaling by frequencies that fall as it grows [N5].
struct RotaryBeyond {
  Index length = 0;                 ///< tokens of the longest sequence that Rotary::frequencies are for
  std::vector<double> frequencies;  ///< of longer ones; where they fall, those of 2 * length tokens
  double growth = 0;  ///< the factor of dynamic scaling: n tokens multiply the base's power that pair p has,
                      ///< (growth n / length - growth + 1)^(-p / (P - 1)); 0 where frequencies do not fall

  bool operator==(const RotaryBeyond&) const = default;
};

/// Rotary positions [N1]: the first 2P coordinates of every query and key are P pairs, and pair p of the
/// token at position n is turned by the angle n * frequencies[p]. Coordinates behind them are not turned.
struct Rotary {
  std::vector<double> frequencies;  ///< radians per position; empty for a module without rotary positions
  PairLayout layout = PairLayout::HalfSplit;
  double gain =
      1;  ///< turned coordinates are multiplied by it, as YaRN and LongRoPE do; their scores by its square

  std::optional<RotaryBeyond> beyond{};  ///< absent where all sequences have the same frequencies

  Index pairs() const { return static_cast<Index>(frequencies.size()); }

  /// The frequencies in a sequence of so many tokens.
  std::vector<double> at(Index tokens) const;

  /// Both coordinates of a pair; the first is turned towards the second.
  std::pair<Index, Index> columns(Index pair) const;

  bool operator==(const Rotary&) const = default;
};

}  // namespace attnsym
