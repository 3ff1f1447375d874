#include "symmetry/signed_gains.hpp"

#include <cmath>

#include "symmetry/random_gauge.hpp"

namespace attnsym {
namespace {

template <class S>
S size_of(const S& number) {
  return number < S(0) ? S(-number) : number;
}

// A number for every coordinate, or pair, of every block on the diagonal: in geometric progression, in random
// order.
template <RealScalar S>
Matrix<S> random_stretch(Random& random, Index size, const std::vector<GaugeBlock>& blocks,
                         double condition) {
  Index count = 0;
  for (const GaugeBlock& block : blocks) count += block.size();
  const RowVector<S> numbers = geometric_spread<S>(count, condition);
  const Permutation order = random_permutation(random, count);
  Matrix<S> diagonal = Matrix<S>::Zero(size, size);
  Index next = 0;
  for (const GaugeBlock& block : blocks) {
    Matrix<S> real = Matrix<S>::Zero(block.size(), block.size());
    for (Index k = 0; k < block.size(); ++k) real(k, k) = numbers(order(next++));
    set_block<S>(diagonal, block, real, Matrix<S>::Zero(block.size(), block.size()));
  }
  return diagonal;
}

template <class S>
Matrix<S> random_signs(Random& random, Index size, const std::vector<GaugeBlock>& blocks) {
  Matrix<S> diagonal = Matrix<S>::Zero(size, size);
  for (const GaugeBlock& block : blocks) {
    Matrix<S> real = Matrix<S>::Zero(block.size(), block.size());
    for (Index k = 0; k < block.size(); ++k) real(k, k) = S(random.below(2) == 0 ? 1 : -1);
    set_block<S>(diagonal, block, real, Matrix<S>::Zero(block.size(), block.size()));
  }
  return diagonal;
}

}  // namespace

template <Scalar S>
std::optional<SignedGains<S>> signed_gains(const GeneralLinear<S>& gauge) {
  const Matrix<S>& a = gauge.matrix();
  Matrix<S> turn = Matrix<S>::Zero(a.rows(), a.cols());
  RowVector<S> stretch(a.rows());
  std::vector<bool> used(static_cast<std::size_t>(a.cols()), false);
  for (Index row = 0; row < a.rows(); ++row) {
    Index found = -1;
    for (Index column = 0; column < a.cols(); ++column) {
      if (a(row, column) == S(0)) continue;
      if (found >= 0 || used[column]) return std::nullopt;
      found = column;
    }
    if (found < 0) return std::nullopt;
    used[found] = true;
    stretch(row) = size_of<S>(a(row, found));
    turn(row, found) = S(a(row, found) < S(0) ? -1 : 1);
  }
  return SignedGains<S>{GeneralLinear<S>::from_matrix_and_inverse(turn, turn.transpose()), stretch};
}

template <Scalar S>
bool share_gains(const GeneralLinear<S>& a, const GeneralLinear<S>& b) {
  if (a.size() != b.size()) return false;
  for (Index i = 0; i < a.matrix().size(); ++i) {
    if (size_of<S>(a.matrix().data()[i]) != size_of<S>(b.matrix().data()[i])) return false;
  }
  return true;
}

template <Scalar S>
std::vector<GeneralLinear<S>> random_signed_gains(Random& random, Index groups, Index size,
                                                  const std::vector<GaugeBlock>& blocks, double condition,
                                                  bool exact) {
  GeneralLinear<S> common = random_monomial<S>(random, size, blocks, exact ? condition : 1);
  if constexpr (RealScalar<S>) {
    if (!exact) {
      const Matrix<S> stretch = random_stretch<S>(random, size, blocks, condition);
      const Matrix<S> back = stretch.diagonal().cwiseInverse().asDiagonal();
      common = compose(GeneralLinear<S>::from_matrix_and_inverse(stretch, back), common);
    }
  }
  std::vector<GeneralLinear<S>> result;
  for (Index j = 0; j < groups; ++j) {
    const Matrix<S> signs = random_signs<S>(random, size, blocks);
    result.push_back(compose(GeneralLinear<S>::from_matrix_and_inverse(signs, signs), common));
  }
  return result;
}

template std::optional<SignedGains<float>> signed_gains(const GeneralLinear<float>&);
template bool share_gains(const GeneralLinear<float>&, const GeneralLinear<float>&);
template std::vector<GeneralLinear<float>> random_signed_gains(Random&, Index, Index,
                                                               const std::vector<GaugeBlock>&, double, bool);
template std::optional<SignedGains<double>> signed_gains(const GeneralLinear<double>&);
template bool share_gains(const GeneralLinear<double>&, const GeneralLinear<double>&);
template std::vector<GeneralLinear<double>> random_signed_gains(Random&, Index, Index,
                                                                const std::vector<GaugeBlock>&, double, bool);
template std::optional<SignedGains<Float50>> signed_gains(const GeneralLinear<Float50>&);
template bool share_gains(const GeneralLinear<Float50>&, const GeneralLinear<Float50>&);
template std::vector<GeneralLinear<Float50>> random_signed_gains(Random&, Index, Index,
                                                                 const std::vector<GaugeBlock>&, double,
                                                                 bool);
template std::optional<SignedGains<Rational>> signed_gains(const GeneralLinear<Rational>&);
template bool share_gains(const GeneralLinear<Rational>&, const GeneralLinear<Rational>&);
template std::vector<GeneralLinear<Rational>> random_signed_gains(Random&, Index, Index,
                                                                  const std::vector<GaugeBlock>&, double,
                                                                  bool);

}  // namespace attnsym
