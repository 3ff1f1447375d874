#pragma once

#include <utility>
#include <vector>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// Which two coordinates of a head turn together.
enum class PairLayout {
  HalfSplit,    ///< p and p + P, as Hugging Face models store them
  Interleaved,  ///< 2p and 2p + 1, as Meta's, llama2.c and GGUF files do
};

/// Rotary positions [N1]: the first 2P coordinates of every query and key are P pairs, and pair p of the
/// token at position n is turned by the angle n * frequencies[p]. What is beyond is not turned.
struct Rotary {
  std::vector<double> frequencies;  ///< radians per position; empty for a module without rotary positions
  PairLayout layout = PairLayout::HalfSplit;
  double gain =
      1;  ///< turned coordinates are multiplied by it, as YaRN and LongRoPE do; their scores by its square

  Index pairs() const { return static_cast<Index>(frequencies.size()); }

  /// Both coordinates of a pair; the first is turned towards the second.
  std::pair<Index, Index> columns(Index pair) const;

  bool operator==(const Rotary&) const = default;
};

}  // namespace attnsym
