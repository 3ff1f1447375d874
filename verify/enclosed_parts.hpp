#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "symmetry/matrix_products.hpp"
#include "verify/enclosure.hpp"

/// The parts of an enclosed forward pass [N9], centres in S and radii in double. Every part returns a radius
/// that covers its own arithmetic; `outward` makes up for computing radii in rounded arithmetic.
namespace attnsym::enclosed {

using Dense = Matrix<double>;

/// What one operation or function of S is off by at most, relative to its result. Float50 has 168 bits; the
/// other 18 are room for its functions, whose last bits nobody promises.
template <RealScalar S>
constexpr double unit = 0x1p-53;
template <>
inline constexpr double unit<Float50> = 0x1p-150;

/// |computed - true| <= gamma(n) * (the same expression in absolute values) for n chained operations, in any
/// order of summation, with room for the errors of computing that bound itself.
template <RealScalar S>
double gamma(Index operations) {
  return 1.01 * unit<S> * static_cast<double>(operations + 4);
}

/// A factor that makes up for computing a radius in rounded arithmetic.
inline double outward(Index operations) { return 1 + 4 * gamma<double>(operations); }

/// What that many results below the normal numbers can be off by, which is nothing relative to them.
inline double underflow(Index operations) { return 0x1p-1072 * static_cast<double>(operations + 4); }

template <class M>
Dense size_of(const M& m) {
  return m.cwiseAbs().template cast<double>();
}

/// x W + b for x known up to dx.
template <RealScalar S>
Enclosed<S> project(const Matrix<S>& x, const Dense& dx, const Dense& weight, const Dense& weight_radius,
                    const RowVector<double>& bias, const RowVector<double>& bias_radius) {
  const Dense size = size_of(x);
  const Dense weight_size = weight.cwiseAbs();
  Enclosed<S> result{multiply(x, weight.cast<S>()), multiply(size + dx, weight_radius)};
  Dense magnitude = multiply(size, weight_size);
  if (bias.size() > 0) {
    result.center.rowwise() += RowVector<S>(bias.cast<S>());
    result.radius.rowwise() += bias_radius;
    magnitude.rowwise() += RowVector<double>(bias.cwiseAbs());
  }
  result.radius += multiply(dx, weight_size) + gamma<S>(x.cols() + 1) * magnitude;
  result.radius.array() += underflow(3 * x.cols());
  return result;
}

/// The scores of one query, each known up to an error.
template <RealScalar S>
struct Logits {
  RowVector<S> center;
  RowVector<double> radius;
};

/// The weights of a softmax.
template <RealScalar S>
Enclosed<S> softmax(const Logits<S>& logits) {
  using std::exp;
  const Index n = logits.center.size();
  Enclosed<S> weights{Matrix<S>(1, n), Dense(1, n)};
  const RowVector<S>& center = logits.center;
  const RowVector<S> error = logits.radius.template cast<S>() + S(4 * unit<S>) * center.cwiseAbs();
  for (Index m = 0; m < n; ++m) {
    S others(0);  // the other terms of the denominator over term m: as computed, and at their extremes
    S fewest(0);
    S most(0);
    for (Index j = 0; j < n; ++j) {
      if (j == m) continue;
      others += exp(S(center(j) - center(m)));
      fewest += exp(S((center(j) - error(j)) - (center(m) + error(m))));
      most += exp(S((center(j) + error(j)) - (center(m) - error(m))));
    }
    const S weight = S(1) / (S(1) + others);
    weights.center(0, m) = weight;
    const S reach = std::max(S(S(1) / (S(1) + fewest) - weight), S(weight - S(1) / (S(1) + most)));
    // The last: a weight that is below the normal numbers, or whose denominator overflows.
    weights.radius(0, m) = outward(1) * static_cast<double>(reach) +
                           gamma<S>(8 * n) * static_cast<double>(weight) + std::numeric_limits<double>::min();
  }
  return weights;
}

/// The squared lengths of rows, as computed and at their extremes: errors move them most if they all pull
/// the same way.
template <RealScalar S>
struct SquaredLengths {
  std::vector<S> middle, shortest, longest;
  Index width = 0;  ///< how many squares went in

  explicit SquaredLengths(const Enclosed<S>& rows) : width(rows.center.cols()) {
    for (Index n = 0; n < rows.center.rows(); ++n) {
      const RowVector<S> size = rows.center.row(n).cwiseAbs();
      const RowVector<S> error = rows.radius.row(n).template cast<S>();
      middle.push_back(size.squaredNorm());
      shortest.push_back((size - error).cwiseMax(S(0)).squaredNorm());
      longest.push_back((size + error).squaredNorm());
    }
  }

  SquaredLengths& operator+=(const SquaredLengths& other) {
    for (std::size_t n = 0; n < middle.size(); ++n) {
      middle[n] += other.middle[n];
      shortest[n] += other.shortest[n];
      longest[n] += other.longest[n];
    }
    width += other.width;
    return *this;
  }
};

/// Rows over their RMS norms, times a gain.
template <RealScalar S>
Enclosed<S> normalized_rows(Enclosed<S> rows, const SquaredLengths<S>& squares, const QkNorm& norm,
                            const RowVector<double>& gain, const RowVector<double>& gain_radius) {
  using std::sqrt;
  const Index operations = squares.width + 8;
  const double rounded = gamma<S>(operations);
  const auto length_of = [&](const S& square) -> S {
    return sqrt(S(square / S(static_cast<double>(squares.width)) + S(norm.epsilon)));
  };
  for (Index n = 0; n < rows.center.rows(); ++n) {
    const RowVector<double> size = size_of(rows.center.row(n));
    const RowVector<double> error = rows.radius.row(n);
    const S middle = length_of(squares.middle[n]);
    const S shortest = length_of(squares.shortest[n]) * S(1 - rounded);
    const S longest = length_of(squares.longest[n]) * S(1 + rounded);
    const S stretch = std::max(S(S(1) / shortest - S(1) / middle), S(S(1) / middle - S(1) / longest));
    const RowVector<double> gained = size.cwiseProduct(gain.cwiseAbs());
    const RowVector<double> moved =
        error.cwiseProduct(gain.cwiseAbs() + gain_radius) + size.cwiseProduct(gain_radius);
    const RowVector<double> reach = (moved.array() + underflow(4)).matrix() / static_cast<double>(shortest) +
                                    gained * static_cast<double>(stretch);
    rows.radius.row(n) = outward(operations) * (reach + rounded * gained / static_cast<double>(middle));
    rows.center.row(n) = rows.center.row(n).cwiseProduct(gain.cast<S>()) / middle;
  }
  return rows;
}

/// Turns the pairs of every row by the angles of its position.
template <RealScalar S>
Enclosed<S> turned(Enclosed<S> rows, const Rotary& rotary) {
  using std::abs;
  using std::cos;
  using std::sin;
  const std::vector<double> frequencies = rotary.at(rows.center.rows());
  for (Index n = 0; n < rows.center.rows(); ++n) {
    for (Index p = 0; p < rotary.pairs(); ++p) {
      const auto [first, second] = rotary.columns(p);
      const S angle = S(frequencies[p]) * S(static_cast<double>(n));
      const S cosine = S(rotary.gain) * cos(angle);
      const S sine = S(rotary.gain) * sin(angle);
      const S x = rows.center(n, first);
      const S y = rows.center(n, second);
      const double x_radius = rows.radius(n, first);
      const double y_radius = rows.radius(n, second);
      const auto size = [](const S& number) { return static_cast<double>(S(abs(number))); };
      // The angle is rounded once, cosine and sine are within one unit, and two products are added.
      const double arithmetic =
          unit<S> * rotary.gain * (size(angle) + 10) * (size(x) + size(y) + x_radius + y_radius) +
          underflow(4);
      rows.center(n, first) = x * cosine - y * sine;
      rows.center(n, second) = x * sine + y * cosine;
      rows.radius(n, first) = size(cosine) * x_radius + size(sine) * y_radius + arithmetic;
      rows.radius(n, second) = size(sine) * x_radius + size(cosine) * y_radius + arithmetic;
    }
  }
  return rows;
}

/// How far a rising function moves from its value at x where x is open by `reach`.
template <RealScalar S, class Function>
double spread(Function function, const S& x, const S& reach) {
  const S center = function(x);
  return outward(1) * static_cast<double>(
                          std::max(S(function(S(x + reach)) - center), S(center - function(S(x - reach)))));
}

/// cap tanh(x / cap) is monotone and never steeper than 1.
template <RealScalar S>
void apply_softcap(Logits<S>& logits, double cap) {
  using std::abs;
  using std::tanh;
  const auto capped = [&](const S& x) -> S { return S(cap) * tanh(S(x / S(cap))); };
  for (Index m = 0; m < logits.center.size(); ++m) {
    const S x = logits.center(m);
    const double reach = logits.radius(m);
    logits.radius(m) = spread<S>(capped, x, S(reach)) +
                       16 * unit<S> * std::min(cap, static_cast<double>(S(abs(x))) + reach) + underflow(4);
    logits.center(m) = capped(x);
  }
}

}  // namespace attnsym::enclosed
