#pragma once

#include <string>

#include "symmetry/attention_symmetry.hpp"
#include "symmetry/gauge_blocks.hpp"
#include "symmetry/random.hpp"

namespace attnsym {

/// What a random group element may move, and how far.
struct SampleOptions {
  double condition = 10;  ///< 2-norm condition number of every gauge, >= 1
  double shift = 0.1;     ///< standard deviation of the bias shifts
  bool heads = true;      ///< permute the key/value groups
  bool readers = true;    ///< permute the readers inside each group
  bool qk = true;         ///< draw QK gauges
  bool vo = true;         ///< draw VO gauges
  bool bias = true;       ///< draw bias shifts where the config allows them
  bool monomial =
      false;  ///< gauges are permutations times signs and powers of two, and quarter turns of rotary
              ///< pairs, which no float format rounds; their condition is at most `condition`
};

/// The symmetry group of attention modules of one config: every element leaves the function of every module
/// unchanged, and for generic weights nothing else does, provided dk, dv <= D, with several readers and
/// several groups not dk = dv = D, and some row sees two other tokens; beside softcaps, sinks, norms and
/// gates the second is measured, not proved [N2, N3, N5].
class SymmetryGroup {
 public:
  const AttentionConfig& config() const { return config_; }

  template <Scalar S>
  AttentionElement<S> identity() const {
    return identity_element<S>(config_);
  }

  /// A random element. Rational has no orthogonal matrices to draw: it takes monomial gauges only.
  /// @throws ShapeError if options.condition < 1, or for Rational without options.monomial.
  template <Scalar S>
  AttentionElement<S> sample(Random& random, const SampleOptions& options = {}) const;

  /// Whether the element fits the config, shifts only free biases, has finite gauges that commute with rotary
  /// positions and keep norms of queries and keys and gates, and keeps every head its slope.
  template <Scalar S>
  bool contains(const AttentionElement<S>& element) const;

  /// Dimension of the set of weights that share one function, at generic weights, for dk, dv <= D, or < D
  /// with centred inputs. Without an output bias a value shift has to lie in the kernel of the stacked
  /// outputs: max(0, g dv - D) dimensions that depend on the weights and that sample() therefore does not
  /// draw [N2]. Norms of queries and keys without an epsilon ignore positive scales of every query head and
  /// key head, or of all together; elements do not have these, either, nor the shifts of tables of relative
  /// positions and what is never read of these, nor what adds to Q, K and V what centred inputs do not see.
  /// Where norms are over all heads, heads that are wider than the model together, h dk > D, can also trade
  /// lengths with each other; this is not counted.
  Index dimension() const;

  /// One line for people, such as "S_12; per head GL(32) on Q-K and GL(32) on V-O; ...".
  std::string describe() const;

 private:
  explicit SymmetryGroup(AttentionConfig config);
  Index qk_dimension() const;  // of what moves queries and keys, shifts aside
  Index gauge_dimension_beside_norms() const;
  Index scale_count() const;  // of queries and keys that norms without an epsilon ignore
  friend SymmetryGroup symmetry_of(const AttentionConfig& config);

  AttentionConfig config_;
  std::vector<GaugeBlock> blocks_;   // of the QK gauge
  std::vector<bool> free_key_bias_;  // per coordinate
};

/// @throws ShapeError on an invalid config.
SymmetryGroup symmetry_of(const AttentionConfig& config);

}  // namespace attnsym
