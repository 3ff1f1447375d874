#include "symmetry/exact_gauges.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace attnsym {
namespace {

// What the exponent e of one factor may be.
struct Interval {
  int from = -4096;  // beyond what double has
  int to = 4096;

  Interval operator&(const Interval& other) const {
    return {std::max(from, other.from), std::min(to, other.to)};
  }
  Interval operator-() const { return {-to, -from}; }

  int nearest(int e) const { return from <= to ? std::clamp(e, from, to) : 0; }
};

// The exponent of the lowest bit that is set in w.
int lowest_bit(double w) {
  constexpr int digits = 53;
  int exponent = 0;
  const auto bits = static_cast<std::uint64_t>(std::ldexp(std::abs(std::frexp(w, &exponent)), digits));
  return exponent - digits + std::countr_zero(bits);
}

// For which e the numbers times 2^e stay in the format.
template <class Numbers>
Interval allowed(const Numbers& numbers, const ExponentRange& format) {
  Interval interval;
  for (Index i = 0; i < numbers.size(); ++i) {
    if (numbers(i) == 0) continue;
    interval =
        interval & Interval{format.lowest - lowest_bit(numbers(i)), format.highest - std::ilogb(numbers(i))};
  }
  return interval;
}

// The same for column k of a weight and its bias, which may be absent.
Interval allowed(const Matrix<double>& weight, const RowVector<double>& bias, Index k,
                 const ExponentRange& format) {
  const Interval interval = allowed(weight.col(k), format);
  return bias.size() > 0 ? interval & allowed(bias.segment(k, 1), format) : interval;
}

// @param exponents  of column k: what its factor's may be
template <class Exponents>
GeneralLinear<double> narrowed(const GeneralLinear<double>& gauge, Exponents exponents) {
  Matrix<double> matrix = gauge.matrix();
  Matrix<double> inverse = gauge.inverse_matrix();
  for (Index k = 0; k < matrix.cols(); ++k) {
    Index row = 0;
    matrix.col(k).cwiseAbs().maxCoeff(&row);
    const int e = exponents(k).nearest(std::ilogb(matrix(row, k)));
    matrix(row, k) = std::copysign(std::ldexp(1.0, e), matrix(row, k));
    inverse(k, row) = 1 / matrix(row, k);
  }
  return GeneralLinear<double>::from_matrix_and_inverse(std::move(matrix), std::move(inverse));
}

}  // namespace

AttentionElement<double> with_exact_products(const AttentionElement<double>& element,
                                             const AttentionWeights<double>& weights,
                                             const ModuleFormats& formats) {
  require_same_size("an element and the groups it acts on", element.local.size(), weights.groups.size());
  AttentionElement<double> result = element;
  for (std::size_t j = 0; j < weights.groups.size(); ++j) {
    const KvGroup<double>& group = weights.groups[j];
    auto& [qk, vo] = result.local[j].second;
    require_same_size("a QK gauge and the keys", qk.linear.size(), group.key.cols());
    require_same_size("a VO gauge and the values", vo.linear.size(), group.value.cols());
    const bool normalised = weights.key_gain.size() > 0 || group.readers.front().gain.size() > 0;
    qk.linear = narrowed(qk.linear, [&](Index k) {
      // Gains may be stored less an offset, which leaves no room for powers of two; temperatures take none
      // up.
      if (normalised) return Interval{0, 0};
      Interval interval = allowed(group.key, group.key_bias, k, formats.key);
      for (const QueryHead<double>& reader : group.readers) {
        interval = interval & -allowed(reader.query, reader.query_bias, k, formats.query);
      }
      return interval;
    });
    vo.linear = narrowed(vo.linear, [&](Index k) {
      Interval interval = allowed(group.value, group.value_bias, k, formats.value);
      for (const QueryHead<double>& reader : group.readers) {
        interval = interval & -allowed(reader.output.row(k), formats.output);
      }
      return interval;
    });
  }
  return result;
}

}  // namespace attnsym
