#include "symmetry/svd.hpp"

#include <Eigen/SVD>

namespace attnsym {
namespace {

constexpr unsigned thin = Eigen::ComputeThinU | Eigen::ComputeThinV;

template <class Decomposition, RealScalar S>
Svd<S> result_of(const Decomposition& svd) {
  return {svd.matrixU(), svd.singularValues().transpose(), svd.matrixV()};
}

}  // namespace

template <>
Svd<double> thin_svd(const Matrix<double>& m) {
  return result_of<Eigen::BDCSVD<Matrix<double>>, double>(Eigen::BDCSVD<Matrix<double>>(m, thin));
}

template <>
Svd<float> thin_svd(const Matrix<float>& m) {
  const Svd<double> svd = thin_svd<double>(m.cast<double>());
  return {svd.u.cast<float>(), svd.sigma.cast<float>(), svd.v.cast<float>()};
}

template <>
Svd<Float50> thin_svd(const Matrix<Float50>& m) {
  return result_of<Eigen::JacobiSVD<Matrix<Float50>>, Float50>(Eigen::JacobiSVD<Matrix<Float50>>(m, thin));
}

RowVector<double> singular_values(const Matrix<double>& m) {
  return Eigen::BDCSVD<Matrix<double>>(m).singularValues().transpose();
}

}  // namespace attnsym
