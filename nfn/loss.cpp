#include "nfn/loss.hpp"

#include <cmath>

#include "symmetry/errors.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

template <RealScalar S>
S sigmoid(const S& z) {
  using std::exp;
  // exp of a number that is not positive: nothing overflows.
  if (z >= S(0)) return S(1) / (S(1) + exp(S(-z)));
  const S e = exp(z);
  return e / (S(1) + e);
}

// The cross entropy from z, so that no logarithm sees a rounded 0 or 1.
template <RealScalar S>
S cross_entropy(const S& z, const S& y) {
  using std::abs;
  using std::exp;
  using std::log1p;
  return std::max(z, S(0)) - z * y + log1p(exp(S(-abs(z))));
}

}  // namespace

template <RealScalar S>
LossSum<S> sum_of_losses(Loss loss, const Matrix<S>& outputs, const Matrix<S>& labels) {
  require_same_size("outputs per checkpoint and one", 1, outputs.rows());
  require_same_size("labels per checkpoint and one", 1, labels.rows());
  require_same_size("outputs and labels", outputs.cols(), labels.cols());
  LossSum<S> sum{0, Matrix<S>(1, outputs.cols())};
  for (Index n = 0; n < outputs.cols(); ++n) {
    const S& z = outputs(n);
    const S& y = labels(n);
    if (loss == Loss::binary_cross_entropy) {
      sum.value += static_cast<double>(cross_entropy(z, y));
      sum.cotangent(n) = sigmoid(z) - y;
    } else {
      sum.value += static_cast<double>((z - y) * (z - y));
      sum.cotangent(n) = S(2) * (z - y);
    }
  }
  return sum;
}

template <RealScalar S>
Matrix<S> predictions(Loss loss, const Matrix<S>& outputs) {
  if (loss == Loss::squared_error) return outputs;
  return outputs.unaryExpr([](const S& z) { return sigmoid(z); });
}

template LossSum<float> sum_of_losses(Loss, const Matrix<float>&, const Matrix<float>&);
template LossSum<double> sum_of_losses(Loss, const Matrix<double>&, const Matrix<double>&);
template LossSum<Float50> sum_of_losses(Loss, const Matrix<Float50>&, const Matrix<Float50>&);
template Matrix<float> predictions(Loss, const Matrix<float>&);
template Matrix<double> predictions(Loss, const Matrix<double>&);
template Matrix<Float50> predictions(Loss, const Matrix<Float50>&);

}  // namespace attnsym
