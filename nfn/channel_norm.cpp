#include "nfn/channel_norm.hpp"

#include "symmetry/errors.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

constexpr double epsilon = 1e-5;

template <RealScalar S>
struct Normalized {
  Matrix<S> values;             // mean 0, variance about 1 in every column
  RowVector<S> inverse_spread;  // 1 / sqrt(variance + epsilon)
};

template <RealScalar S>
Normalized<S> normalize(const Matrix<S>& input) {
  const Matrix<S> centred = input.rowwise() - input.colwise().mean();
  const RowVector<S> variance = centred.colwise().squaredNorm() / S(static_cast<int>(input.rows()));
  const RowVector<S> inverse_spread = (variance.array() + S(epsilon)).rsqrt();
  return {centred * inverse_spread.asDiagonal(), inverse_spread};
}

}  // namespace

template <RealScalar S>
ChannelNorm<S>::ChannelNorm(Index channels) {
  if (channels < 1) throw ShapeError("a norm needs channels");
  gain_ = Matrix<S>::Ones(channels, 1);
  bias_ = Matrix<S>::Zero(channels, 1);
}

template <RealScalar S>
std::vector<ParameterView<S>> ChannelNorm<S>::parameters() {
  ParameterTable<S> table(1, 1, gain_.rows());
  table.add(gain_, 0, false, {{0, false}}, {"gain"});
  table.add(bias_, 0, false, {{0, false}}, {"bias"});
  return table.views();
}

template <RealScalar S>
Matrix<S> ChannelNorm<S>::operator()(const Matrix<S>& input) const {
  require_same_size("the channels of a norm and its input", gain_.rows(), input.rows());
  return (gain_.col(0).asDiagonal() * normalize(input).values).colwise() + bias_.col(0);
}

template <RealScalar S>
Gradients<ChannelNorm<S>> ChannelNorm<S>::backward(const Matrix<S>& input, const Matrix<S>& cotangent) const {
  require_same_size("the channels of a norm and its input", gain_.rows(), input.rows());
  require_same_size("the channels of a norm and its cotangent", gain_.rows(), cotangent.rows());
  require_same_size("the checkpoints of input and cotangent", input.cols(), cotangent.cols());
  const Normalized<S> normalized = normalize(input);
  Gradients<ChannelNorm> gradients{{}, ChannelNorm(gain_.rows())};
  gradients.parameters.gain_ = cotangent.cwiseProduct(normalized.values).rowwise().sum();
  gradients.parameters.bias_ = cotangent.rowwise().sum();
  // By x: the part of the cotangent that neither shifts nor scales the column, over the spread.
  Matrix<S> by = gain_.col(0).asDiagonal() * cotangent;
  const RowVector<S> along =
      by.cwiseProduct(normalized.values).colwise().sum() / S(static_cast<int>(input.rows()));
  by.rowwise() -= by.colwise().mean().eval();
  by -= normalized.values * along.asDiagonal();
  gradients.input = by * normalized.inverse_spread.asDiagonal();
  return gradients;
}

template class ChannelNorm<float>;
template class ChannelNorm<double>;
template class ChannelNorm<Float50>;

}  // namespace attnsym
