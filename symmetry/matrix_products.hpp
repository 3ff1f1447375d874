#pragma once

#include "symmetry/dual.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// Any part of a matrix whose columns are contiguous. Other expressions are evaluated into one first.
template <class S>
using MatrixView = Eigen::Ref<const Matrix<S>, 0, Eigen::OuterStride<>>;

/// As MatrixView, to write to.
template <class S>
using MatrixSlot = Eigen::Ref<Matrix<S>, 0, Eigen::OuterStride<>>;

/// The products of matrices, compiled once for each scalar. Written as a * b, every pair of types of operands
/// is compiled anew, at about a second each.
template <class S>
struct Products {
  static void add(MatrixSlot<S> sum, const MatrixView<S>& a, const MatrixView<S>& b);
  static void add_tn(MatrixSlot<S> sum, const MatrixView<S>& a, const MatrixView<S>& b);
  static void add_nt(MatrixSlot<S> sum, const MatrixView<S>& a, const MatrixView<S>& b);
  static Matrix<S> nn(const MatrixView<S>& a, const MatrixView<S>& b);
  static Matrix<S> tn(const MatrixView<S>& a, const MatrixView<S>& b);
  static Matrix<S> nt(const MatrixView<S>& a, const MatrixView<S>& b);
};

extern template struct Products<float>;
extern template struct Products<double>;
extern template struct Products<Float50>;
extern template struct Products<Float100>;
extern template struct Products<Rational>;
extern template struct Products<Dual>;

/// a b. Here and below a and b are matrices; shapes that do not fit abort, as with Eigen's own product.
template <class A, class B>
Matrix<typename A::Scalar> multiply(const A& a, const B& b) {
  return Products<typename A::Scalar>::nn(a, b);
}

/// a^T b.
template <class A, class B>
Matrix<typename A::Scalar> multiply_tn(const A& a, const B& b) {
  return Products<typename A::Scalar>::tn(a, b);
}

/// a b^T.
template <class A, class B>
Matrix<typename A::Scalar> multiply_nt(const A& a, const B& b) {
  return Products<typename A::Scalar>::nt(a, b);
}

/// sum += a b. `sum` must not overlap a or b.
template <class Sum, class A, class B>
void add_product(Sum&& sum, const A& a, const B& b) {
  Products<typename A::Scalar>::add(sum, a, b);
}

/// sum += a^T b.
template <class Sum, class A, class B>
void add_product_tn(Sum&& sum, const A& a, const B& b) {
  Products<typename A::Scalar>::add_tn(sum, a, b);
}

/// sum += a b^T.
template <class Sum, class A, class B>
void add_product_nt(Sum&& sum, const A& a, const B& b) {
  Products<typename A::Scalar>::add_nt(sum, a, b);
}

}  // namespace attnsym
