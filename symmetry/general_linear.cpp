#include "symmetry/general_linear.hpp"

#include <Eigen/LU>
#include <limits>
#include <string>

#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/permutation.hpp"
#include "symmetry/safe_norm.hpp"
#include "symmetry/svd.hpp"

namespace attnsym {
namespace {

template <class S>
void require_square(const Matrix<S>& m) {
  if (m.rows() != m.cols()) {
    throw ShapeError("a gauge must be square, found " + std::to_string(m.rows()) + " x " +
                     std::to_string(m.cols()));
  }
}

// Whether the residual of a matrix times its inverse is within tolerance<S>() * |matrix| |inverse|.
// Infinities and NaN never are, nor is a pair so badly conditioned that the bound overflows.
template <Scalar S>
bool is_small(const Matrix<S>& residual, const Matrix<S>& matrix, const Matrix<S>& inverse) {
  if constexpr (RealScalar<S>) {
    const S bound = tolerance<S>() * safe_norm(matrix) * safe_norm(inverse);
    return bound <= std::numeric_limits<S>::max() && safe_norm(residual) <= bound;
  } else {
    return residual == Matrix<S>::Zero(residual.rows(), residual.cols());
  }
}

}  // namespace

template <Scalar S>
GeneralLinear<S> GeneralLinear<S>::identity(Index size) {
  return GeneralLinear(Matrix<S>::Identity(size, size), Matrix<S>::Identity(size, size));
}

template <Scalar S>
GeneralLinear<S> GeneralLinear<S>::from_matrix(Matrix<S> matrix) {
  require_square(matrix);
  const Eigen::FullPivLU<Matrix<S>> lu(matrix);
  if (!lu.isInvertible()) {
    throw SingularError("a gauge of size " + std::to_string(matrix.rows()) + " is singular");
  }
  return from_matrix_and_inverse(std::move(matrix), lu.inverse());
}

template <Scalar S>
GeneralLinear<S> GeneralLinear<S>::from_matrix_and_inverse(Matrix<S> matrix, Matrix<S> inverse) {
  require_square(matrix);
  require_same_size("a gauge and its inverse", matrix.rows(), inverse.rows());
  require_square(inverse);
  const Matrix<S> residual = multiply(matrix, inverse) - Matrix<S>::Identity(matrix.rows(), matrix.rows());
  if (!is_small(residual, matrix, inverse)) {
    throw SingularError("a gauge and its stated inverse do not multiply to the identity");
  }
  return GeneralLinear(std::move(matrix), std::move(inverse));
}

template <Scalar S>
GeneralLinear<S> compose(const GeneralLinear<S>& g, const GeneralLinear<S>& h) {
  require_same_size("composed gauges", g.size(), h.size());
  return GeneralLinear<S>(multiply(g.matrix_, h.matrix_), multiply(h.inverse_, g.inverse_));
}

double condition(const GeneralLinear<double>& g) {
  const RowVector<double> sigma = singular_values(g.matrix());
  return sigma(0) / sigma(sigma.size() - 1);
}

template class GeneralLinear<float>;
template class GeneralLinear<double>;
template class GeneralLinear<Float50>;
template class GeneralLinear<Rational>;

template GeneralLinear<float> compose(const GeneralLinear<float>&, const GeneralLinear<float>&);
template GeneralLinear<double> compose(const GeneralLinear<double>&, const GeneralLinear<double>&);
template GeneralLinear<Float50> compose(const GeneralLinear<Float50>&, const GeneralLinear<Float50>&);
template GeneralLinear<Rational> compose(const GeneralLinear<Rational>&, const GeneralLinear<Rational>&);

}  // namespace attnsym
