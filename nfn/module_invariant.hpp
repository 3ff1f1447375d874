#pragma once

#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"
#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// Invariants of one attention module, with grouped queries and rotary positions: e numbers, e x 1. Head i of
/// group j has the features f_i [N5]
///
///     Q_i T_t K_j^T  t D D   T_t the basis of gauge_commutant: for every frequency the real and the
///     imaginary
///                            part of the complex form, so all that scores at any distance are made of
///     V_j O_i        D D
///
/// and with them
///
///     result = F1, F2 sum_i f_i + F3 + G sum_i u_i o u_i,   u_i = H1, H2 f_i of m numbers   (o: entry by
///     entry)
///
/// The first part is every invariant that is linear in the entries, in products of an entry of Q and one of
/// K, in those of V and O, and in 1; the second sees heads one by one [N13]. Exactly invariant over every
/// scalar.
template <Scalar S>
class ModuleInvariant {
 public:
  using Input = AttentionWeights<S>;
  using Output = Matrix<S>;

  /// All parameters zero; `features` is m and may be 0. @throws ShapeError on an invalid config, one with
  /// biases, sinks, slopes or norms of queries and keys, and unless e is positive.
  ModuleInvariant(const AttentionConfig& config, Index features, Index outputs);

  /// e ((t + 1) D^2 + 1) + m (t + 1) D^2 + e m.
  static Index parameter_count(const AttentionConfig& config, Index features, Index outputs);

  Index outputs() const { return linear_.rows(); }

  /// F1 [e, t, D, D], F2 [e, D, D], F3 [e], H1, H2 likewise, G [e, m]: views that live as long as the layer
  /// stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the weights fit the config.
  Matrix<S> operator()(const AttentionWeights<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<ModuleInvariant> backward(const AttentionWeights<S>& input, const Matrix<S>& cotangent) const;

 private:
  Matrix<S> head_features(const AttentionWeights<S>& weights) const;
  void pull_back(const AttentionWeights<S>& weights, const Matrix<S>& cotangent,
                 AttentionWeights<S>& gradient) const;

  AttentionConfig config_;
  std::vector<Matrix<S>> basis_;
  Matrix<S> linear_;   // F1, F2, F3: e x (t + 1) D^2 + 1
  Matrix<S> heads_;    // H1, H2: m x (t + 1) D^2
  Matrix<S> squares_;  // G: e x m
};

extern template class ModuleInvariant<float>;
extern template class ModuleInvariant<double>;
extern template class ModuleInvariant<Float50>;
extern template class ModuleInvariant<Rational>;

static_assert(DifferentiableLayer<ModuleInvariant<double>>);

}  // namespace attnsym
