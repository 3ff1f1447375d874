#include "symmetry/balance_pair.hpp"

#include <Eigen/Jacobi>
#include <cmath>
#include <limits>

#include "symmetry/safe_norm.hpp"

namespace attnsym {
namespace {

// Multiplies a complex column by real + i imaginary.
template <RealScalar S>
void multiply(FactorParts<S>& parts, const GaugeBlock& block, const S& real, const S& imaginary) {
  // Not a rotation unless it is of length 1; the arithmetic is the same.
  const Eigen::JacobiRotation<S> turn(real, S(block.orientation.front()) * imaginary);
  for (auto& part : parts) part.applyOnTheRight(block.real.front(), block.imaginary.front(), turn);
}

template <RealScalar S>
void set_zero(FactorParts<S>& parts, const GaugeBlock& block) {
  for (auto& part : parts) {
    part.col(block.real.front()).setZero();
    part.col(block.imaginary.front()).setZero();
  }
}

template <class S>
struct Complex {
  S real{0};
  S imaginary{0};
};

// The inner product of the conjugate probe with a complex column.
template <RealScalar S>
Complex<S> probed(const FactorParts<S>& parts, const GaugeBlock& block,
                  const Eigen::Matrix<S, Eigen::Dynamic, 1>& probe) {
  const Index half = probe.size() / 2;
  const S orientation = S(block.orientation.front());
  Complex<S> result;
  Index begin = 0;
  for (const auto& part : parts) {
    const auto x = part.col(block.real.front());
    const auto y = part.col(block.imaginary.front());
    const auto u = probe.segment(begin, part.rows());
    const auto v = probe.segment(half + begin, part.rows());
    result.real += u.dot(x) + orientation * v.dot(y);
    result.imaginary += orientation * u.dot(y) - v.dot(x);
    begin += part.rows();
  }
  return result;
}

}  // namespace

template <RealScalar S>
RowVector<S> column_norms(const FactorParts<S>& parts) {
  using Limits = std::numeric_limits<S>;
  RowVector<S> squares = RowVector<S>::Zero(parts.front().cols());
  for (const auto& part : parts) squares += part.colwise().squaredNorm();
  const S smallest = Limits::min() / Limits::epsilon();
  if ((squares.array() > smallest).all() && (squares.array() <= Limits::max()).all())
    return squares.cwiseSqrt();
  RowVector<S> norms(squares.size());
  for (Index k = 0; k < norms.size(); ++k) {
    RowVector<S> of_parts(static_cast<Index>(parts.size()));
    for (std::size_t i = 0; i < parts.size(); ++i) of_parts(i) = safe_norm(parts[i].col(k));
    norms(k) = safe_norm(of_parts);
  }
  return norms;
}

template <RealScalar S>
BalancedPair<S> balance_pair(FactorParts<S>& queries, FactorParts<S>& keys, const GaugeBlock& block,
                             const PairSizes<S>& sizes, const Eigen::Matrix<S, Eigen::Dynamic, 1>& probe,
                             S coincidence) {
  using std::sqrt;
  const S sigma = sizes.query * sizes.key;
  BalancedPair<S> result;
  if (!(sigma > sizes.noise) || !(sigma > coincidence * sigma)) {
    set_zero(queries, block);
    set_zero(keys, block);
    return result;
  }
  result.sigma = sigma;
  const Complex<S> product = probed(keys, block, probe);
  const S size = safe_norm(RowVector<S>{{product.real, product.imaginary}});
  result.sign_margin = std::min(S(1), S(size / (safe_norm(probe) * sizes.key)));
  const Complex<S> phase =
      size > 0 ? Complex<S>{product.real / size, -product.imaginary / size} : Complex<S>{S(1), S(0)};
  const S stretch = sqrt(sizes.query) / sqrt(sizes.key);  // their quotient may be out of range
  result.real = stretch * phase.real;
  result.imaginary = stretch * phase.imaginary;
  result.inverse_real = phase.real / stretch;
  result.inverse_imaginary = -phase.imaginary / stretch;
  multiply(keys, block, result.real, result.imaginary);
  multiply<S>(queries, block, result.inverse_real, -result.inverse_imaginary);
  return result;
}

template RowVector<float> column_norms(const FactorParts<float>&);
template RowVector<double> column_norms(const FactorParts<double>&);
template RowVector<Float50> column_norms(const FactorParts<Float50>&);

template BalancedPair<float> balance_pair(FactorParts<float>&, FactorParts<float>&, const GaugeBlock&,
                                          const PairSizes<float>&,
                                          const Eigen::Matrix<float, Eigen::Dynamic, 1>&, float);
template BalancedPair<double> balance_pair(FactorParts<double>&, FactorParts<double>&, const GaugeBlock&,
                                           const PairSizes<double>&,
                                           const Eigen::Matrix<double, Eigen::Dynamic, 1>&, double);
template BalancedPair<Float50> balance_pair(FactorParts<Float50>&, FactorParts<Float50>&, const GaugeBlock&,
                                            const PairSizes<Float50>&,
                                            const Eigen::Matrix<Float50, Eigen::Dynamic, 1>&, Float50);

}  // namespace attnsym
