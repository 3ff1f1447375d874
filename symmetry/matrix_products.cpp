#include "symmetry/matrix_products.hpp"

namespace attnsym {

template <class S>
void Products<S>::add(MatrixSlot<S> sum, const MatrixView<S>& a, const MatrixView<S>& b) {
  sum.noalias() += a * b;
}

template <class S>
void Products<S>::add_tn(MatrixSlot<S> sum, const MatrixView<S>& a, const MatrixView<S>& b) {
  sum.noalias() += a.transpose() * b;
}

template <class S>
void Products<S>::add_nt(MatrixSlot<S> sum, const MatrixView<S>& a, const MatrixView<S>& b) {
  sum.noalias() += a * b.transpose();
}

// 0 + a b is what Eigen computes, too, and halves what has to be compiled.
template <class S>
Matrix<S> Products<S>::nn(const MatrixView<S>& a, const MatrixView<S>& b) {
  Matrix<S> result = Matrix<S>::Zero(a.rows(), b.cols());
  add(result, a, b);
  return result;
}

template <class S>
Matrix<S> Products<S>::tn(const MatrixView<S>& a, const MatrixView<S>& b) {
  Matrix<S> result = Matrix<S>::Zero(a.cols(), b.cols());
  add_tn(result, a, b);
  return result;
}

template <class S>
Matrix<S> Products<S>::nt(const MatrixView<S>& a, const MatrixView<S>& b) {
  Matrix<S> result = Matrix<S>::Zero(a.rows(), b.rows());
  add_nt(result, a, b);
  return result;
}

template struct Products<float>;
template struct Products<double>;
template struct Products<Float50>;
template struct Products<Float100>;
template struct Products<Rational>;
template struct Products<Dual>;

}  // namespace attnsym
