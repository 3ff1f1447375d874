#pragma once

#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"
#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// All linear maps of the weights of one attention module to those of another, of E model coordinates, that
/// commute with its group: with grouped queries and rotary positions, each with its own gauges [N13]. T_t is
/// the basis of gauge_commutant, reader i one of group j:
///
///     Q_i' = sum_t (PhiQ_t Q_i + SumQ_t sum_i Q_i) T_t     the inner sum over the readers of the group
///     K_j' = sum_t PhiK_t K_j T_t
///     V_j' = PhiV V_j
///     O_i' = O_i PhiO^T + sum_i O_i SumO^T
///
/// SumQ and SumO exist where groups have several readers. Model coordinates are free, so channels go below
/// each other: E = e D rows are e channels. Exactly equivariant over every scalar.
template <Scalar S>
class ModuleLinear {
 public:
  using Input = AttentionWeights<S>;
  using Output = AttentionWeights<S>;

  /// All parameters zero. @throws ShapeError on an invalid config, one with biases, sinks, slopes or norms of
  /// queries and keys, and unless E is positive.
  ModuleLinear(const AttentionConfig& config, Index outputs);

  /// E D (2 t + 2) without SumQ and SumO, E D (3 t + 3) with them, t the size of the basis.
  static Index parameter_count(const AttentionConfig& config, Index outputs);

  /// PhiQ, SumQ, PhiK [E, t, D], PhiV, PhiO, SumO [E, D]: views that live as long as the layer stays where it
  /// is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the weights fit the config.
  AttentionWeights<S> operator()(const AttentionWeights<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<ModuleLinear> backward(const AttentionWeights<S>& input,
                                   const AttentionWeights<S>& cotangent) const;

 private:
  KvGroup<S> apply(const KvGroup<S>& group) const;
  KvGroup<S> pull_back(const KvGroup<S>& group, const KvGroup<S>& cotangent, ModuleLinear& by) const;
  bool has_sums() const { return query_sum_.size() > 0; }

  AttentionConfig config_;
  std::vector<Matrix<S>> basis_;
  Matrix<S> query_;      // PhiQ_t side by side, E x t D
  Matrix<S> query_sum_;  // SumQ_t likewise; may be empty
  Matrix<S> key_;        // PhiK_t likewise
  Matrix<S> value_;      // E x D
  Matrix<S> output_;     // E x D
  Matrix<S> output_sum_;
};

/// @throws ShapeError unless the config is valid and has no biases, sinks, slopes and norms of queries and
/// keys, which these layers do not read.
void require_bare(const AttentionConfig& config);

extern template class ModuleLinear<float>;
extern template class ModuleLinear<double>;
extern template class ModuleLinear<Float50>;
extern template class ModuleLinear<Rational>;

static_assert(DifferentiableLayer<ModuleLinear<double>>);

}  // namespace attnsym
