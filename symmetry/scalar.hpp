#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <boost/multiprecision/cpp_bin_float.hpp>
#include <boost/multiprecision/cpp_int.hpp>
#include <boost/multiprecision/eigen.hpp>
#include <concepts>

namespace attnsym {

/// 50 decimal digits, for the laws and as a reference for double.
using Float50 =
    boost::multiprecision::number<boost::multiprecision::cpp_bin_float<50>, boost::multiprecision::et_off>;

/// 100 decimal digits, the top of the precision ladder.
using Float100 =
    boost::multiprecision::number<boost::multiprecision::cpp_bin_float<100>, boost::multiprecision::et_off>;

/// Exact rationals: laws over this scalar are tested with ==.
using Rational = boost::multiprecision::number<boost::multiprecision::cpp_rational::backend_type,
                                               boost::multiprecision::et_off>;

template <class S>
concept RealScalar = std::same_as<S, float> || std::same_as<S, double> || std::same_as<S, Float50> ||
    std::same_as<S, Float100>;

struct Dual;  // symmetry/dual.hpp

/// What the reference forward pass is evaluated over: numbers, and numbers that carry a derivative.
template <class S>
concept ForwardScalar = RealScalar<S> || std::same_as<S, Dual>;

/// The scalars that weights may have. RealScalar adds square roots, which Rational lacks.
template <class S>
concept Scalar = ForwardScalar<S> || std::same_as<S, Rational>;

using Index = Eigen::Index;

template <class S>
using Matrix = Eigen::Matrix<S, Eigen::Dynamic, Eigen::Dynamic>;

/// Tokens, biases and gains are rows (N1).
template <class S>
using RowVector = Eigen::Matrix<S, 1, Eigen::Dynamic>;

/// The one table of tolerances: the relative error (Frobenius) that one short chain of operations may leave
/// on well-conditioned operands. Rational has none.
template <Scalar S>
S tolerance() {
  if constexpr (std::same_as<S, float>) return 1e-4F;
  if constexpr (std::same_as<S, double>) return 1e-12;
  if constexpr (std::same_as<S, Float50>) return S("1e-46");
  if constexpr (std::same_as<S, Float100>) return S("1e-96");
  return S(0);
}

/// a == b up to tolerance<S>() * slack relative to the larger norm, exactly for Rational. Different shapes
/// are different; NaN is close to nothing.
template <class A, class B>
bool is_close(const Eigen::MatrixBase<A>& a, const Eigen::MatrixBase<B>& b, double slack = 1) {
  using S = typename A::Scalar;
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  if constexpr (std::same_as<S, Rational>) {
    return a == b;
  } else {
    const S limit = tolerance<S>() * S(slack) * std::max(S(a.norm()), S(b.norm()));
    return (a - b).norm() <= limit;
  }
}

}  // namespace attnsym
