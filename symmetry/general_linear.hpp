#pragma once

#include "symmetry/group.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// An element of GL(n), kept together with its inverse so that nothing is inverted twice and an exact pair
/// stays exact.
template <Scalar S>
class GeneralLinear {
 public:
  static GeneralLinear identity(Index size);

  /// @throws SingularError if the matrix is singular (exactly for Rational, to working precision otherwise),
  /// ShapeError if it is not square.
  static GeneralLinear from_matrix(Matrix<S> matrix);

  /// @throws SingularError unless all entries are finite and matrix * inverse is the identity up to
  /// tolerance<S>() * |matrix| |inverse|.
  static GeneralLinear from_matrix_and_inverse(Matrix<S> matrix, Matrix<S> inverse);

  Index size() const { return matrix_.rows(); }
  const Matrix<S>& matrix() const { return matrix_; }
  const Matrix<S>& inverse_matrix() const { return inverse_; }

  /// Exact, on the matrices. Different sizes are different.
  bool operator==(const GeneralLinear& other) const {
    return size() == other.size() && matrix_ == other.matrix_;
  }

 private:
  GeneralLinear(Matrix<S> matrix, Matrix<S> inverse)
      : matrix_(std::move(matrix)), inverse_(std::move(inverse)) {}

  template <Scalar T>
  friend GeneralLinear<T> compose(const GeneralLinear<T>& g, const GeneralLinear<T>& h);
  template <Scalar T>
  friend GeneralLinear<T> inverse(const GeneralLinear<T>& g);

  Matrix<S> matrix_;
  Matrix<S> inverse_;
};

/// @throws ShapeError on different sizes.
template <Scalar S>
GeneralLinear<S> compose(const GeneralLinear<S>& g, const GeneralLinear<S>& h);

template <Scalar S>
GeneralLinear<S> inverse(const GeneralLinear<S>& g) {
  return GeneralLinear<S>(g.inverse_, g.matrix_);
}

template <Scalar S>
GeneralLinear<S> identity_like(const GeneralLinear<S>& g) {
  return GeneralLinear<S>::identity(g.size());
}

/// Whether the inverse is the transpose: exactly over Rational, else up to tolerance<S>() * n.
template <Scalar S>
bool is_isometry(const GeneralLinear<S>& g) {
  return is_close(g.inverse_matrix(), g.matrix().transpose(), static_cast<double>(g.size()));
}

/// The 2-norm condition number.
double condition(const GeneralLinear<double>& g);

static_assert(GroupElement<GeneralLinear<double>>);
static_assert(GroupElement<GeneralLinear<Rational>>);

}  // namespace attnsym
