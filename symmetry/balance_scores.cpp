#include "symmetry/balance_scores.hpp"

#include <algorithm>

namespace attnsym {
namespace {

// How much of the noise of a circuit is in each block, when every entry of its factors is uncertain by the
// same share of its size: in square, sum_k |q_k|^2 |k_k|^2 over the columns of the block [N7].
// @param sizes  |q_k| |k_k| of all columns
template <class S>
S noise_share(const RowVector<S>& sizes, const GaugeBlock& block) {
  const S all = sizes.norm();
  return all > S(0) ? S(block_columns<S>(sizes, block).norm() / all) : S(1);
}

// A complex matrix x + i y as the real one that acts alike on real and imaginary parts below each other:
// columns of x + i y and then those of i (x + i y).
template <class S>
Matrix<S> embedded(const Matrix<S>& matrix, const GaugeBlock& block) {
  const Matrix<S> columns = block_columns(matrix, block);
  const Matrix<S> turned = block_columns(matrix, block, true);
  const Index n = block.size();
  Matrix<S> result(2 * matrix.rows(), 2 * n);
  result << columns.leftCols(n), turned.leftCols(n), columns.rightCols(n), turned.rightCols(n);
  return result;
}

// Columns 2k and 2k + 1 of a balanced embedding are a complex column and i times it, because they belong to
// one singular value and the probe that fixes them is embedded, too.
template <class S>
void put_columns(Matrix<S>& result, const Matrix<S>& balanced, const GaugeBlock& block) {
  const Index rows = result.rows();
  for (Index k = 0; k < block.size(); ++k) {
    if (!block.is_complex()) {
      result.col(block.real[k]) = balanced.col(k);
      continue;
    }
    result.col(block.real[k]) = balanced.col(2 * k).head(rows);
    result.col(block.imaginary[k]) = S(block.orientation[k]) * balanced.col(2 * k).tail(rows);
  }
}

// The complex matrix G with row k = row 2k of the real one, whose columns are real parts first.
template <class S>
void put_gauge(Matrix<S>& result, const Matrix<S>& gauge, const GaugeBlock& block) {
  const Index n = block.size();
  if (!block.is_complex()) return set_block<S>(result, block, gauge, {});
  Matrix<S> real(n, n);
  Matrix<S> imaginary(n, n);
  for (Index k = 0; k < n; ++k) {
    real.row(k) = gauge.row(2 * k).head(n);
    imaginary.row(k) = gauge.row(2 * k).tail(n);
  }
  set_block(result, block, real, imaginary);
}

// The same of the inverse. Its columns are in the order of the rows above, and a real gauge acts on the
// embedding by the conjugate.
template <class S>
void put_inverse(Matrix<S>& result, const Matrix<S>& inverse, const GaugeBlock& block) {
  const Index n = block.size();
  if (!block.is_complex()) return set_block<S>(result, block, inverse, {});
  Matrix<S> real(n, n);
  Matrix<S> imaginary(n, n);
  for (Index k = 0; k < n; ++k) {
    real.col(k) = inverse.col(2 * k).head(n);
    imaginary.col(k) = -inverse.col(2 * k).tail(n);
  }
  set_block(result, block, real, imaginary);
}

template <RealScalar S>
Balanced<S> balanced_block(const Matrix<S>& queries, const Matrix<S>& keys, const GaugeBlock& block,
                           S coincidence, S noise, const std::optional<Index>& probed_rows) {
  using std::sqrt;
  if (!block.is_complex())
    return balance<S>(block_columns(queries, block), block_columns(keys, block), coincidence, noise,
                      Probe::Plain, probed_rows);
  // Every singular value stands twice in the embedding.
  return balance<S>(embedded(queries, block), embedded(keys, block), coincidence, noise * S(sqrt(2.0)),
                    Probe::Embedded, probed_rows);
}

template <class S>
RowVector<S> every_second(const RowVector<S>& sigma) {
  RowVector<S> result(sigma.size() / 2);
  for (Index k = 0; k < result.size(); ++k) result(k) = sigma(2 * k);
  return result;
}

}  // namespace

template <RealScalar S>
BalancedScores<S> balance_scores(const Matrix<S>& queries, const Matrix<S>& keys,
                                 const std::vector<GaugeBlock>& blocks, S coincidence, S noise,
                                 std::optional<Index> probed_rows) {
  const Index width = keys.cols();
  BalancedScores<S> result;
  if (blocks.size() == 1 && !blocks.front().is_complex()) {  // all of GL(dk): nothing to take apart
    result.all = balance<S>(queries, keys, coincidence, noise, Probe::Plain, probed_rows);
    result.sigma = {result.all.sigma};
    return result;
  }
  Balanced<S>& all = result.all;
  all.left = Matrix<S>::Zero(queries.rows(), width);
  all.right = Matrix<S>::Zero(keys.rows(), width);
  Matrix<S> gauge = Matrix<S>::Zero(width, width);
  Matrix<S> inverse = Matrix<S>::Zero(width, width);
  bool full_rank = true;
  const RowVector<S> sizes = queries.colwise().norm().cwiseProduct(keys.colwise().norm());
  for (const GaugeBlock& block : blocks) {
    const Balanced<S> one = balanced_block<S>(queries, keys, block, coincidence,
                                              noise * noise_share<S>(sizes, block), probed_rows);
    put_columns(all.left, one.left, block);
    put_columns(all.right, one.right, block);
    all.rank += one.rank;
    all.sign_margin = std::min(all.sign_margin, one.sign_margin);
    result.sigma.push_back(block.is_complex() ? every_second(one.sigma) : one.sigma);
    full_rank = full_rank && one.linear.has_value();
    if (!full_rank) continue;
    put_gauge(gauge, one.linear->matrix(), block);
    put_inverse(inverse, one.linear->inverse_matrix(), block);
  }
  all.sigma.resize(width);
  Index begin = 0;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    for (int copy = 0; copy < (blocks[b].is_complex() ? 2 : 1); ++copy) {
      all.sigma.segment(begin, blocks[b].size()) = result.sigma[b];
      begin += blocks[b].size();
    }
  }
  if (full_rank) all.linear = GeneralLinear<S>::from_matrix_and_inverse(std::move(gauge), std::move(inverse));
  return result;
}

template BalancedScores<float> balance_scores(const Matrix<float>&, const Matrix<float>&,
                                              const std::vector<GaugeBlock>&, float, float,
                                              std::optional<Index>);
template BalancedScores<double> balance_scores(const Matrix<double>&, const Matrix<double>&,
                                               const std::vector<GaugeBlock>&, double, double,
                                               std::optional<Index>);
template BalancedScores<Float50> balance_scores(const Matrix<Float50>&, const Matrix<Float50>&,
                                                const std::vector<GaugeBlock>&, Float50, Float50,
                                                std::optional<Index>);

}  // namespace attnsym
