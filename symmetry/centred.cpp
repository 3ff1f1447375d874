#include "symmetry/centred.hpp"

#include <cmath>

namespace attnsym {
namespace {

// Calls visit on the matrices that tokens are multiplied with.
template <class S, class Visit>
void for_each_reading(AttentionWeights<S>& weights, Visit visit) {
  for (KvGroup<S>& group : weights.groups) {
    visit(group.key);
    visit(group.value);
    for (QueryHead<S>& reader : group.readers) {
      visit(reader.query);
      if (reader.gate.size() > 0) visit(reader.gate);
    }
  }
}

// Multiples of 2^-30 of the largest entry: sums of a million such numbers are exact.
void make_sums_exact(Eigen::Ref<RowVector<double>> token) {
  const double largest = token.cwiseAbs().maxCoeff();
  if (!(largest > 0) || !std::isfinite(largest)) return;
  const double quantum = std::ldexp(1.0, std::ilogb(largest) - 30);
  for (Index k = 0; k < token.size(); ++k) token(k) = std::nearbyint(token(k) / quantum) * quantum;
  token(0) -= token.sum();
}

}  // namespace

template <Scalar S>
AttentionWeights<S> with_centred_weights(AttentionWeights<S> weights) {
  for_each_reading(weights, [](Matrix<S>& matrix) {
    const RowVector<S> mean = matrix.colwise().sum() / S(matrix.rows());
    matrix.rowwise() -= mean;
  });
  return weights;
}

AttentionWeights<double> with_centred_radii(AttentionWeights<double> radii) {
  for_each_reading(radii, [](Matrix<double>& radius) {
    const auto count = static_cast<double>(radius.rows());
    const Matrix<double> squares = radius.cwiseAbs2();
    const RowVector<double> of_mean = squares.colwise().sum() / (count * count);
    radius = ((1 - 2 / count) * squares).rowwise() + of_mean;
    radius = radius.cwiseMax(0.0).cwiseSqrt();
  });
  return radii;
}

Matrix<double> centred_tokens(Matrix<double> tokens) {
  tokens.colwise() -= tokens.rowwise().mean().eval();
  for (Index n = 0; n < tokens.rows(); ++n) {
    RowVector<double> token = tokens.row(n);
    make_sums_exact(token);
    tokens.row(n) = token;
  }
  return tokens;
}

bool is_centred(const Matrix<double>& tokens) {
  for (Index n = 0; n < tokens.rows(); ++n) {
    Rational sum = 0;
    for (Index k = 0; k < tokens.cols(); ++k) sum += Rational(tokens(n, k));
    if (sum != 0) return false;
  }
  return true;
}

template AttentionWeights<float> with_centred_weights(AttentionWeights<float>);
template AttentionWeights<double> with_centred_weights(AttentionWeights<double>);
template AttentionWeights<Float50> with_centred_weights(AttentionWeights<Float50>);

}  // namespace attnsym
