#include "symmetry/rotated_scores.hpp"
#include "symmetry/matrix_products.hpp"

#include <cmath>

namespace attnsym {
namespace {

// The isometry nearest to a matrix that is one up to rounding: Newton's iteration for the polar factor, which
// stays among the matrices that commute with positions.
template <RealScalar S>
Matrix<S> nearest_isometry(Matrix<S> matrix) {
  constexpr int steps = 6;  // each squares the error
  for (int step = 0; step < steps; ++step) {
    const Matrix<S> gram = multiply_nt(matrix, matrix);
    matrix = (S(3) * matrix - multiply(gram, matrix)) / S(2);
  }
  return matrix;
}

// What noise of Q K^T amounts to in W W^T, where W has both, for errors that are a share of every entry.
template <RealScalar S>
S noise_of_stack(const Matrix<S>& queries, const Matrix<S>& keys, const Matrix<S>& stack, const S& noise) {
  const S circuit = queries.colwise().norm().cwiseProduct(keys.colwise().norm()).norm();
  return circuit > S(0) ? S(noise * stack.colwise().squaredNorm().norm() / circuit) : noise;
}

}  // namespace

template <RealScalar S>
BalancedScores<S> rotate_scores(const Matrix<S>& queries, const Matrix<S>& keys,
                                const std::vector<GaugeBlock>& blocks, S coincidence, S noise) {
  Matrix<S> stack(queries.rows() + keys.rows(), keys.cols());
  stack << keys, queries;
  // Where both factors are W the balanced gauge is the matrix of right singular vectors. Only keys are
  // probed, so that the order of readers makes no difference.
  BalancedScores<S> result = balance_scores<S>(stack, stack, blocks, coincidence,
                                               noise_of_stack<S>(queries, keys, stack, noise), keys.rows());
  Balanced<S>& all = result.all;
  if (all.linear) {
    Matrix<S> turn = nearest_isometry<S>(all.linear->matrix());
    all.right = multiply_nt(stack, turn);
    Matrix<S> back = turn.transpose();
    all.linear = GeneralLinear<S>::from_matrix_and_inverse(std::move(turn), std::move(back));
  }
  all.left = all.right.bottomRows(queries.rows());
  all.right = all.right.topRows(keys.rows()).eval();
  return result;
}

template BalancedScores<float> rotate_scores(const Matrix<float>&, const Matrix<float>&,
                                             const std::vector<GaugeBlock>&, float, float);
template BalancedScores<double> rotate_scores(const Matrix<double>&, const Matrix<double>&,
                                              const std::vector<GaugeBlock>&, double, double);
template BalancedScores<Float50> rotate_scores(const Matrix<Float50>&, const Matrix<Float50>&,
                                               const std::vector<GaugeBlock>&, Float50, Float50);

}  // namespace attnsym
