#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>

#include "symmetry/random.hpp"
#include "verify/rounding_law.hpp"

namespace attnsym {

/// Some steps of power iteration for the largest singular value of [X_1 ... X_F], each X_f = L_f R_f^* given
/// by L_f, D x n, and the Gram matrix of R_f; complex X_f stand for their real and imaginary parts side by
/// side. What is seen is at most the largest singular value. The start is fixed: whoever hides from it has
/// made an edit for this one program.
class Alignment {
 public:
  static constexpr int steps = 3;  ///< of apply

  /// To be called for all f, and then step(), once.
  template <class M>
  void begin(const M& left, const M& gram) {
    const Matrix<double> start = fixed_probe<double>(left.cols(), 1, 0xa119 + begun_++);
    const M moved = gram * start.cast<typename M::Scalar>();
    add_to(next_, (left * moved).real());
  }

  /// To be called for all f, and then step(), `steps` times.
  template <class M>
  void apply(const M& left, const M& gram) {
    const M met = left.adjoint() * current_.template cast<typename M::Scalar>();
    const M moved = gram * met;
    squares_ += std::real(met.cwiseProduct(moved.conjugate()).sum());
    add_to(next_, (left * moved).real());
  }

  /// Ends a round of begin or of apply.
  void step() {
    seen_ = std::max(seen_, std::sqrt(std::max(squares_, 0.0)));  // current_ has norm 1
    const double size = next_.norm();
    broken_ = broken_ || !std::isfinite(size) || !std::isfinite(squares_);
    current_ = size > 0 ? Matrix<double>(next_ / size) : Matrix<double>::Zero(next_.rows(), 1);
    next_.resize(0, 0);
    squares_ = 0;
  }

  /// NaN if it cannot be said.
  double seen() const { return broken_ ? std::numeric_limits<double>::quiet_NaN() : seen_; }

 private:
  template <class V>
  static void add_to(Matrix<double>& sum, const V& term) {
    if (sum.size() == 0) {
      sum = term;
    } else {
      sum += term;
    }
  }

  Matrix<double> current_;  // D x 1
  Matrix<double> next_;
  double squares_ = 0;
  double seen_ = 0;
  bool broken_ = false;
  std::uint64_t begun_ = 0;
};

/// What errors of the factors do to [X_1 ... X_F]. Those of L make independent rows, those of R independent
/// columns.
struct AlignmentNoise {
  double own = 0;          ///< the largest eigenvalue of the sum of all rows' covariances, by errors of L
  double largest_row = 0;  ///< variance
  double all_rows = 0;     ///< their sum
  double other = 0;        ///< by errors of R, see misfit
};

/// [N7, aligned differences] The largest singular value that independent errors leave.
inline double alignment_limit(const AlignmentNoise& noise, double surprise) {
  const double single = noise.all_rows > 0 ? noise.own * noise.largest_row / noise.all_rows : 0;
  return singular_value_limit(std::sqrt(noise.largest_row), std::sqrt(noise.own), std::sqrt(single),
                              surprise) +
         std::sqrt(noise.other);
}

/// What errors of R do where L alone should be left over: a change of basis that was fitted to R is wrong by
/// what n directions of D have of them, n the width of the head; at most four times what the n largest
/// columns have.
/// @param errors   the largest eigenvalue that all of them have
/// @param columns  their variances
inline double misfit(double errors, Index head_width, RowVector<double> columns) {
  const double all = columns.sum();
  const Index count = std::min(head_width, columns.size());
  std::nth_element(columns.data(), columns.data() + (count - 1), columns.data() + columns.size(),
                   std::greater<>());
  const double largest = columns.head(count).sum();
  return errors * std::min(1.0, all > 0 ? 4 * largest / all : 0.0);
}

}  // namespace attnsym
