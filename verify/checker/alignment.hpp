#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>

#include "symmetry/random.hpp"
#include "verify/block_matrices.hpp"
#include "verify/rounding_law.hpp"

namespace attnsym {

/// Some steps of power iteration for the largest singular value of [X_1 ... X_F], each X_f = L_f R_f^* given
/// by L_f, D x n, and the Gram matrix of R_f; complex X_f stand for their real and imaginary parts side by
/// side. What is seen is at most the largest singular value. The start is fixed: whoever hides from it has
/// made an edit for this one program.
class Alignment {
 public:
  static constexpr int steps = 2;  ///< of apply

  /// To be called for all f, and then step(), once.
  template <class M>
  void begin(const M& left, const M& gram) {
    const Matrix<double> start = fixed_probe<double>(left.cols(), 1, 0xa119 + begun_++);
    add_product(left, M(gram * start.cast<typename M::Scalar>()));
  }

  /// To be called for all f, and then step(), `steps` times.
  template <class M>
  void apply(const M& left, const M& gram) {
    const M met = adjoint_product(left);
    const M moved = gram * met;
    squares_ += std::real(met.cwiseProduct(moved.conjugate()).sum());
    if (taken_ < steps) add_product(left, moved);
  }

  /// Ends a round of begin or of apply.
  void step() {
    seen_ = std::max(seen_, std::sqrt(std::max(squares_, 0.0)));  // current_ has norm 1
    const double size = next_.norm();
    broken_ = broken_ || !std::isfinite(size) || !std::isfinite(squares_);
    if (size > 0) {
      current_ = next_ / size;
    } else {
      current_ = Eigen::VectorXd::Zero(std::max(next_.size(), current_.size()));
    }
    next_.resize(0);
    ++taken_;
    squares_ = 0;
  }

  /// NaN if it cannot be said.
  double seen() const { return broken_ ? std::numeric_limits<double>::quiet_NaN() : seen_; }

 private:
  // A column of complex numbers as two rows, of real and of imaginary parts: products of these with the real
  // vector need no copies.
  using Parts = Eigen::Map<const Eigen::Matrix<double, 2, Eigen::Dynamic>>;
  static Parts parts(const ComplexMatrix& matrix, Index column) {
    return {reinterpret_cast<const double*>(matrix.col(column).data()), 2, matrix.rows()};
  }

  // left^* times the current vector.
  Matrix<double> adjoint_product(const Matrix<double>& left) const { return left.transpose() * current_; }
  ComplexMatrix adjoint_product(const ComplexMatrix& left) const {
    ComplexMatrix met(left.cols(), 1);
    for (Index k = 0; k < left.cols(); ++k) {
      const Eigen::Vector2d both = parts(left, k) * current_;
      met(k) = {both(0), -both(1)};
    }
    return met;
  }

  // Adds the real part of left times this.
  void add_product(const Matrix<double>& left, const Matrix<double>& moved) {
    prepare(left.rows());
    next_.noalias() += left * moved;
  }
  void add_product(const ComplexMatrix& left, const ComplexMatrix& moved) {
    prepare(left.rows());
    for (Index k = 0; k < left.cols(); ++k)
      next_.noalias() += parts(left, k).transpose() * Eigen::Vector2d(moved(k).real(), -moved(k).imag());
  }

  void prepare(Index rows) {
    if (next_.size() == 0) next_ = Eigen::VectorXd::Zero(rows);
  }

  Eigen::VectorXd current_;
  Eigen::VectorXd next_;
  double squares_ = 0;
  double seen_ = 0;
  bool broken_ = false;
  std::uint64_t begun_ = 0;
  int taken_ = 0;  // steps
};

/// The same of one real X = L R^T from the Gram matrices of both: every vector on the way is L times a short
/// one.
inline double alignment_of_grams(const Matrix<double>& left_gram, const Matrix<double>& gram) {
  double seen = 0;
  Matrix<double> short_one = gram * fixed_probe<double>(gram.cols(), 1, 0xa119);
  for (int step = 0; step < Alignment::steps; ++step) {
    const double square = short_one.cwiseProduct(left_gram * short_one).sum();
    if (!(square > 0)) return std::isnan(square) ? square : seen;
    const Matrix<double> met = left_gram * short_one / std::sqrt(square);
    short_one = gram * met;
    seen = std::max(seen, std::sqrt(std::max(met.cwiseProduct(short_one).sum(), 0.0)));
  }
  return std::isfinite(seen) ? seen : std::numeric_limits<double>::quiet_NaN();
}

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
