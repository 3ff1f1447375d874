#include "symmetry/balance_scores.hpp"

#include <algorithm>

#include "symmetry/safe_norm.hpp"

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

// The gauge of the whole key width, put together block by block; there is none once a block lacks rank.
template <RealScalar S>
class GaugeOfBlocks {
 public:
  explicit GaugeOfBlocks(Index width)
      : gauge_(Matrix<S>::Zero(width, width)), inverse_(Matrix<S>::Zero(width, width)) {}

  void add(const GaugeBlock& block, const std::optional<GeneralLinear<S>>& linear) {
    full_rank_ = full_rank_ && linear.has_value();
    if (!full_rank_) return;
    put_gauge(gauge_, linear->matrix(), block);
    put_inverse(inverse_, linear->inverse_matrix(), block);
  }

  void add(const GaugeBlock& block, const BalancedPair<S>& pair) {
    full_rank_ = full_rank_ && pair.sigma > S(0);
    if (!full_rank_) return;
    put(gauge_, block, pair.real, pair.imaginary);
    put(inverse_, block, pair.inverse_real, pair.inverse_imaginary);
  }

  std::optional<GeneralLinear<S>> finished() && {
    if (!full_rank_) return std::nullopt;
    return GeneralLinear<S>::from_matrix_and_inverse(std::move(gauge_), std::move(inverse_));
  }

 private:
  static void put(Matrix<S>& matrix, const GaugeBlock& block, const S& real, const S& imaginary) {
    set_block<S>(matrix, block, Matrix<S>::Constant(1, 1, real), Matrix<S>::Constant(1, 1, imaginary));
  }

  Matrix<S> gauge_;
  Matrix<S> inverse_;
  bool full_rank_ = true;
};

template <RealScalar S>
void note(BalancedScores<S>& result, Index rank, const S& sign_margin, RowVector<S> sigma) {
  result.all.rank += rank;
  result.all.sign_margin = std::min(result.all.sign_margin, sign_margin);
  result.sigma.push_back(std::move(sigma));
}

// The singular values of all blocks one after the other, of complex ones twice.
template <RealScalar S>
RowVector<S> joined(const std::vector<RowVector<S>>& sigma, const std::vector<GaugeBlock>& blocks,
                    Index width) {
  RowVector<S> all(width);
  Index begin = 0;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    for (int copy = 0; copy < (blocks[b].is_complex() ? 2 : 1); ++copy) {
      all.segment(begin, blocks[b].size()) = sigma[b];
      begin += blocks[b].size();
    }
  }
  return all;
}

// Balances the blocks that are single pairs in place, and hands the others to `balance_other(block, share)`,
// which does the rest; `share` is that of the block in the noise.
template <RealScalar S, class Other>
void balance_blocks(BalancedScores<S>& result, FactorParts<S>& queries, FactorParts<S>& keys,
                    const std::vector<GaugeBlock>& blocks, S coincidence, S noise,
                    const std::optional<Index>& probed_rows, Other balance_other) {
  Index rows = 0;
  for (const auto& part : keys) rows += part.rows();
  const Index width = keys.front().cols();
  const RowVector<S> query_norms = column_norms(queries);
  const RowVector<S> key_norms = column_norms(keys);
  const RowVector<S> sizes = query_norms.cwiseProduct(key_norms);
  const Eigen::Matrix<S, Eigen::Dynamic, 1> probe =
      sign_probe<S>(2 * rows, 2, Probe::Embedded, probed_rows).col(0);
  GaugeOfBlocks<S> gauge(width);
  for (const GaugeBlock& block : blocks) {
    const S share = noise * noise_share<S>(sizes, block);
    if (!block.is_pair()) {
      balance_other(block, share, gauge);
      continue;
    }
    const PairSizes<S> pair_sizes{safe_norm(block_columns<S>(query_norms, block)),
                                  safe_norm(block_columns<S>(key_norms, block)), share};
    const BalancedPair<S> pair = balance_pair(queries, keys, block, pair_sizes, probe, coincidence);
    note<S>(result, pair.sigma > S(0) ? 2 : 0, pair.sign_margin, RowVector<S>::Constant(1, pair.sigma));
    gauge.add(block, pair);
  }
  result.all.sigma = joined(result.sigma, blocks, width);
  result.all.linear = std::move(gauge).finished();
}

}  // namespace

template <RealScalar S>
BalancedScores<S> balance_scores(const Matrix<S>& queries, const Matrix<S>& keys,
                                 const std::vector<GaugeBlock>& blocks, S coincidence, S noise,
                                 std::optional<Index> probed_rows) {
  BalancedScores<S> result;
  if (blocks.size() == 1 && !blocks.front().is_complex()) {  // all of GL(dk): nothing to take apart
    result.all = balance<S>(queries, keys, coincidence, noise, Probe::Plain, probed_rows);
    result.sigma = {result.all.sigma};
    return result;
  }
  Balanced<S>& all = result.all;
  all.left = queries;
  all.right = keys;
  FactorParts<S> left{all.left};
  FactorParts<S> right{all.right};
  const auto balance_other = [&](const GaugeBlock& block, const S& share, GaugeOfBlocks<S>& gauge) {
    const Balanced<S> one = balanced_block<S>(queries, keys, block, coincidence, share, probed_rows);
    put_columns(all.left, one.left, block);
    put_columns(all.right, one.right, block);
    note<S>(result, one.rank, one.sign_margin, block.is_complex() ? every_second(one.sigma) : one.sigma);
    gauge.add(block, one.linear);
  };
  balance_blocks<S>(result, left, right, blocks, coincidence, noise, probed_rows, balance_other);
  return result;
}

template <RealScalar S>
BalancedScores<S> balance_pairs(FactorParts<S>& queries, FactorParts<S>& keys,
                                const std::vector<GaugeBlock>& blocks, S coincidence, S noise) {
  BalancedScores<S> result;
  balance_blocks<S>(result, queries, keys, blocks, coincidence, noise, {}, [](const auto&...) {});
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

template BalancedScores<float> balance_pairs(FactorParts<float>&, FactorParts<float>&,
                                             const std::vector<GaugeBlock>&, float, float);
template BalancedScores<double> balance_pairs(FactorParts<double>&, FactorParts<double>&,
                                              const std::vector<GaugeBlock>&, double, double);
template BalancedScores<Float50> balance_pairs(FactorParts<Float50>&, FactorParts<Float50>&,
                                               const std::vector<GaugeBlock>&, Float50, Float50);

}  // namespace attnsym
