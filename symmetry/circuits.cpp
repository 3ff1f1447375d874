#include "symmetry/circuits.hpp"

#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/permutation.hpp"
#include "symmetry/thin_qr.hpp"

namespace attnsym {
namespace {

// The upper triangle T of a thin QR [a b] = Z T.
template <RealScalar S>
Matrix<S> joint_triangle(const Matrix<S>& a, const Matrix<S>& b) {
  Matrix<S> joint(a.rows(), a.cols() + b.cols());
  joint << a, b;
  return ThinQr<S>(joint).triangle();
}

// The rows of a circuit in an orthonormal basis Z of its row space: left right^T = core Z^T.
template <RealScalar S>
struct Cores {
  Matrix<S> a;
  Matrix<S> b;
};

// [N4] With [a.right b.right] = Z [Ta Tb]: a = (a.left Ta^T) Z^T, and b likewise, in one basis.
template <RealScalar S>
Cores<S> common_cores(const Matrix<S>& a_left, const Matrix<S>& a_right, const Matrix<S>& b_left,
                      const Matrix<S>& b_right) {
  const Matrix<S> t = joint_triangle(a_right, b_right);
  return {multiply_nt(a_left, t.leftCols(a_right.cols())), multiply_nt(b_left, t.rightCols(b_right.cols()))};
}

template <RealScalar S>
RowVector<S> row_norms(const Cores<S>& cores) {
  return (cores.a - cores.b).rowwise().norm().transpose();
}

}  // namespace

template <Scalar S>
Matrix<S> homogeneous(const Matrix<S>& weight, const RowVector<S>& bias) {
  Matrix<S> stacked(weight.rows() + 1, weight.cols());
  stacked.topRows(weight.rows()) = weight;
  stacked.bottomRows(1).setZero();
  if (bias.size() > 0) stacked.bottomRows(1) = bias;
  return stacked;
}

template <Scalar S>
Circuit<S> qk_circuit(const AttentionConfig& config, const AttentionWeights<S>& weights, Index head) {
  const KvGroup<S>& group = weights.groups[head / config.readers_per_group()];
  const QueryHead<S>& reader = group.readers[head % config.readers_per_group()];
  return {S(config.scale) * homogeneous(reader.query, reader.query_bias), group.key};
}

template <Scalar S>
Circuit<S> vo_circuit(const AttentionConfig& config, const AttentionWeights<S>& weights, Index head) {
  const KvGroup<S>& group = weights.groups[head / config.readers_per_group()];
  const Matrix<S> outputs = group.readers[head % config.readers_per_group()].output.transpose();
  if (config.value_bias_counts() && config.value_bias)
    return {homogeneous(group.value, group.value_bias), outputs};
  return {group.value, outputs};
}

template <Scalar S>
RowVector<S> constant_output(const AttentionConfig& config, const AttentionWeights<S>& weights) {
  RowVector<S> c = RowVector<S>::Zero(config.model_width);
  if (config.output_bias) c = weights.output_bias;
  if (!config.value_bias || config.value_bias_counts()) return c;
  for (const KvGroup<S>& group : weights.groups) {
    if ((group.value_bias.array() == S(0)).all()) continue;
    for (const QueryHead<S>& reader : group.readers) c += multiply(group.value_bias, reader.output);
  }
  return c;
}

template <RealScalar S>
S norm(const Circuit<S>& circuit) {
  const Matrix<S> none(circuit.right.rows(), 0);
  const Matrix<S> t = joint_triangle(circuit.right, none);
  return multiply_nt(circuit.left, t).norm();
}

template <RealScalar S>
DifferenceNorms<S> difference_norms(const Circuit<S>& a, const Circuit<S>& b) {
  require_same_size("compared circuits (rows)", a.left.rows(), b.left.rows());
  require_same_size("compared circuits (columns)", a.right.rows(), b.right.rows());
  const Cores<S> by_row = common_cores(a.left, a.right, b.left, b.right);
  const Cores<S> by_column = common_cores(a.right, a.left, b.right, b.left);
  DifferenceNorms<S> norms{by_row.a.norm(), by_row.b.norm(), S(0), row_norms(by_row), row_norms(by_column)};
  norms.total = norms.rows.norm();
  return norms;
}

template Matrix<float> homogeneous(const Matrix<float>&, const RowVector<float>&);
template Matrix<double> homogeneous(const Matrix<double>&, const RowVector<double>&);
template Matrix<Float50> homogeneous(const Matrix<Float50>&, const RowVector<Float50>&);
template Matrix<Rational> homogeneous(const Matrix<Rational>&, const RowVector<Rational>&);

template Circuit<float> qk_circuit(const AttentionConfig&, const AttentionWeights<float>&, Index);
template Circuit<double> qk_circuit(const AttentionConfig&, const AttentionWeights<double>&, Index);
template Circuit<Float50> qk_circuit(const AttentionConfig&, const AttentionWeights<Float50>&, Index);
template Circuit<Rational> qk_circuit(const AttentionConfig&, const AttentionWeights<Rational>&, Index);

template Circuit<float> vo_circuit(const AttentionConfig&, const AttentionWeights<float>&, Index);
template Circuit<double> vo_circuit(const AttentionConfig&, const AttentionWeights<double>&, Index);
template Circuit<Float50> vo_circuit(const AttentionConfig&, const AttentionWeights<Float50>&, Index);
template Circuit<Rational> vo_circuit(const AttentionConfig&, const AttentionWeights<Rational>&, Index);

template RowVector<float> constant_output(const AttentionConfig&, const AttentionWeights<float>&);
template RowVector<double> constant_output(const AttentionConfig&, const AttentionWeights<double>&);
template RowVector<Float50> constant_output(const AttentionConfig&, const AttentionWeights<Float50>&);
template RowVector<Rational> constant_output(const AttentionConfig&, const AttentionWeights<Rational>&);
template float norm(const Circuit<float>&);
template DifferenceNorms<float> difference_norms(const Circuit<float>&, const Circuit<float>&);
template double norm(const Circuit<double>&);
template DifferenceNorms<double> difference_norms(const Circuit<double>&, const Circuit<double>&);
template Float50 norm(const Circuit<Float50>&);
template DifferenceNorms<Float50> difference_norms(const Circuit<Float50>&, const Circuit<Float50>&);

}  // namespace attnsym
