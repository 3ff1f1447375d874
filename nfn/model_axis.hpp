#pragma once

#include "symmetry/scalar.hpp"

namespace attnsym {

/// Steps along the axes of the matrices of WeightFeatures. `width` is D, `block` the number of columns that
/// belong to one checkpoint. Rows are (channel, model coordinate).

/// Sums over the model coordinate: d D x N to d x N.
template <class Derived>
auto sum_model_axis(const Eigen::MatrixBase<Derived>& tensor, Index width) {
  using S = typename Derived::Scalar;
  Matrix<S> sums(tensor.rows() / width, tensor.cols());
  for (Index c = 0; c < sums.rows(); ++c) sums.row(c) = tensor.middleRows(c * width, width).colwise().sum();
  return sums;
}

/// Adds values(c, col) to every model coordinate: the transpose of sum_model_axis.
template <Scalar S>
void add_along_model_axis(Matrix<S>& tensor, const Matrix<S>& values, Index width) {
  for (Index c = 0; c < values.rows(); ++c) {
    tensor.middleRows(c * width, width).rowwise() += values.row(c);
  }
}

/// Sums over the columns of every checkpoint: R x n block to R x n.
template <class Derived>
auto sum_columns(const Eigen::MatrixBase<Derived>& tensor, Index block) {
  using S = typename Derived::Scalar;
  Matrix<S> sums(tensor.rows(), tensor.cols() / block);
  for (Index n = 0; n < sums.cols(); ++n) sums.col(n) = tensor.middleCols(n * block, block).rowwise().sum();
  return sums;
}

/// Adds column n of values to every column of checkpoint n: the transpose of sum_columns.
template <class Tensor, class Values>
void add_to_columns(Tensor&& tensor, const Eigen::MatrixBase<Values>& values, Index block) {
  for (Index n = 0; n < values.cols(); ++n) {
    tensor.middleCols(n * block, block).colwise() += values.col(n);
  }
}

/// (c, j) x checkpoint to c x (checkpoint, j).
template <Scalar S>
Matrix<S> coordinates_to_columns(const Matrix<S>& values, Index width) {
  Matrix<S> result(values.rows() / width, values.cols() * width);
  for (Index n = 0; n < values.cols(); ++n) {
    for (Index c = 0; c < result.rows(); ++c) {
      result.row(c).segment(n * width, width) = values.col(n).segment(c * width, width).transpose();
    }
  }
  return result;
}

/// The inverse of coordinates_to_columns.
template <Scalar S>
Matrix<S> columns_to_coordinates(const Matrix<S>& values, Index width) {
  Matrix<S> result(values.rows() * width, values.cols() / width);
  for (Index n = 0; n < result.cols(); ++n) {
    for (Index c = 0; c < values.rows(); ++c) {
      result.col(n).segment(c * width, width) = values.row(c).segment(n * width, width).transpose();
    }
  }
  return result;
}

/// One channel of (M (x) I_D) X, which mixes channels and leaves coordinates alone: sets `result`, D x N, to
/// the sum over c of weights(c) times channel c of the tensor, d D x N.
template <class Result, class Weights, class Tensor>
void set_mixed_channel(Result&& result, const Eigen::MatrixBase<Weights>& weights,
                       const Eigen::MatrixBase<Tensor>& tensor) {
  const Index width = result.rows();
  result = weights(0) * tensor.topRows(width);
  for (Index c = 1; c < weights.size(); ++c) result += weights(c) * tensor.middleRows(c * width, width);
}

/// The derivative of <G, (M (x) I_D) X> by M: e x d.
template <Scalar S>
Matrix<S> mixer_gradient(const Matrix<S>& cotangent, const Matrix<S>& tensor, Index width) {
  Matrix<S> gradient(cotangent.rows() / width, tensor.rows() / width);
  for (Index e = 0; e < gradient.rows(); ++e) {
    for (Index c = 0; c < gradient.cols(); ++c) {
      gradient(e, c) =
          cotangent.middleRows(e * width, width).cwiseProduct(tensor.middleRows(c * width, width)).sum();
    }
  }
  return gradient;
}

}  // namespace attnsym
