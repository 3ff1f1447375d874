#pragma once

#include <Eigen/Core>
#include <cmath>
#include <concepts>
#include <type_traits>

namespace attnsym {

/// A number and its derivative along one direction: arithmetic on it is forward differentiation, exact up to
/// rounding. The order is that of the numbers.
struct Dual {
  double value = 0;
  double slope = 0;

  Dual() = default;
  Dual(double number, double derivative) : value(number), slope(derivative) {}

  /// A constant. Implicit, as numbers are for the other scalars.
  template <class Number>
  requires std::is_arithmetic_v<Number> Dual(Number number) : value(static_cast<double>(number)) {}

  Dual operator-() const { return {-value, -slope}; }

  Dual& operator+=(const Dual& other) { return *this = {value + other.value, slope + other.slope}; }
  Dual& operator-=(const Dual& other) { return *this = {value - other.value, slope - other.slope}; }
  Dual& operator*=(const Dual& other) {
    return *this = {value * other.value, slope * other.value + value * other.slope};
  }
  Dual& operator/=(const Dual& other) {
    const double quotient = value / other.value;
    return *this = {quotient, (slope - quotient * other.slope) / other.value};
  }

  friend Dual operator+(Dual a, const Dual& b) { return a += b; }
  friend Dual operator-(Dual a, const Dual& b) { return a -= b; }
  friend Dual operator*(Dual a, const Dual& b) { return a *= b; }
  friend Dual operator/(Dual a, const Dual& b) { return a /= b; }
  friend bool operator<(const Dual& a, const Dual& b) { return a.value < b.value; }
  bool operator==(const Dual&) const = default;
};

inline Dual exp(const Dual& x) {
  const double value = std::exp(x.value);
  return {value, value * x.slope};
}

inline Dual sqrt(const Dual& x) {
  const double value = std::sqrt(x.value);
  return {value, x.slope / (2 * value)};
}

inline Dual tanh(const Dual& x) {
  const double value = std::tanh(x.value);
  return {value, (1 - value * value) * x.slope};
}

inline Dual log(const Dual& x) { return {std::log(x.value), x.slope / x.value}; }

inline Dual erf(const Dual& x) {
  return {std::erf(x.value), 2 / std::sqrt(std::acos(-1.0)) * std::exp(-x.value * x.value) * x.slope};
}

inline Dual sin(const Dual& x) { return {std::sin(x.value), std::cos(x.value) * x.slope}; }
inline Dual cos(const Dual& x) { return {std::cos(x.value), -std::sin(x.value) * x.slope}; }

}  // namespace attnsym

/// Lets Eigen hold matrices of duals.
template <>
struct Eigen::NumTraits<attnsym::Dual> : Eigen::NumTraits<double> {
  using Real = attnsym::Dual;
  using NonInteger = attnsym::Dual;
  using Nested = attnsym::Dual;
  enum {
    IsComplex = 0,
    IsInteger = 0,
    IsSigned = 1,
    RequireInitialization = 1,
    ReadCost = 2,
    AddCost = 2,
    MulCost = 4
  };
};
