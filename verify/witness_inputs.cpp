#include "verify/witness_inputs.hpp"

#include <algorithm>
#include <cmath>

#include "verify/safe_norm.hpp"

namespace attnsym {
namespace {

using Inputs = std::vector<Matrix<double>>;

constexpr Index random_length = 4;

// Logits are quadratic in the tokens: sizes that bring logits of 2^log_logit at unit tokens to about 1, 3,
// 0.3 and 10.
std::vector<double> token_sizes(double log_logit) {
  if (!std::isfinite(log_logit)) return {1.0};
  std::vector<double> sizes;
  for (const double target : {1.0, 3.0, 0.3, 10.0})
    sizes.push_back(std::exp2((std::log2(target) - log_logit) / 2));
  return sizes;
}

double log_size(double scaled, int exponent) { return std::log2(scaled) + exponent; }

Matrix<double> normal_matrix(Random& random, Index rows, Index cols) {
  Matrix<double> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = random.normal();
  return m;
}

// a - b as factors of one product, at the larger of the two exponents.
struct Difference {
  Matrix<double> left;
  Matrix<double> right;
  int exponent;

  Difference(const StoredCircuit& a, const StoredCircuit& b) : exponent(std::max(a.exponent, b.exponent)) {
    const Circuit<double> x = value_at_exponent(a, exponent);
    const Circuit<double> y = value_at_exponent(b, exponent);
    left.resize(x.left.rows(), x.left.cols() + y.left.cols());
    right.resize(x.right.rows(), left.cols());
    left << x.left, -y.left;
    right << x.right, y.right;
  }
};

// The leading singular vectors of a difference by power iteration; zero where there is none.
struct LeadingPair {
  Matrix<double> left;   // rows x 1
  Matrix<double> right;  // cols x 1
};

void normalize(Matrix<double>& v) {
  const double size = safe_norm(v);
  if (size > 0) v /= size;
}

LeadingPair leading_pair(const Difference& d) {
  constexpr int iterations = 20;
  LeadingPair pair{{}, fixed_probe<double>(d.right.rows(), 1, 0x6c656164)};
  for (int i = 0; i < iterations; ++i) {
    pair.left = d.left * (d.right.transpose() * pair.right);
    normalize(pair.left);
    pair.right = d.right * (d.left.transpose() * pair.left);
    normalize(pair.right);
  }
  return pair;
}

// The entry of the difference that is largest beside the noise of its row and column: (row, column).
std::pair<Index, Index> leading_entry(const Difference& d, const Matrix<double>& row_scale,
                                      const Matrix<double>& column_scale) {
  constexpr int iterations = 4;  // alternating between the best row of a column and the best column of a row
  const Matrix<double> left = row_scale.cwiseInverse().asDiagonal() * d.left;
  const Matrix<double> right = column_scale.cwiseInverse().asDiagonal() * d.right;
  // The row that differs most overall, then ascent on single entries.
  Index row = 0;
  (left * (right.transpose() * right)).cwiseProduct(left).rowwise().sum().maxCoeff(&row);
  Index column = 0;
  for (int i = 0; i < iterations; ++i) {
    (right * left.row(row).transpose()).cwiseAbs().maxCoeff(&column);
    (left * right.row(column).transpose()).cwiseAbs().maxCoeff(&row);
  }
  return {row, column};
}

// Row norms of the factors, never zero: a row of small weights has little noise.
Matrix<double> noise_scale(const Matrix<double>& a, const Matrix<double>& b) {
  const Matrix<double> size = (a.rowwise().norm() + b.rowwise().norm());
  return size.cwiseMax(1e-3 * size.maxCoeff() + 1e-300);
}

std::pair<Index, Index> leading_entry(const StoredCircuit& a, const StoredCircuit& b) {
  const Difference d(a, b);
  return leading_entry(d, noise_scale(a.value.left, b.value.left), noise_scale(a.value.right, b.value.right));
}

// Equal tokens see the OV circuit alone: every softmax is uniform.
void add_equal_tokens(Inputs& inputs, const Matrix<double>& direction, const std::vector<double>& sizes) {
  for (const double size : sizes) {
    for (const double factor : {1.0, 30.0})
      inputs.emplace_back(size * factor * direction.transpose().replicate(3, 1));
  }
}

// A query along `query` last, and keys along +-`key`: the difference of two logits, one coordinate each.
void add_opposite_keys(Inputs& inputs, const Matrix<double>& query, const Matrix<double>& key,
                       double log_logit) {
  for (const double size : token_sizes(log_logit)) {
    for (const double balance : {1.0, 10.0}) {
      Matrix<double> tokens(3, key.rows());
      tokens << size * balance * key.transpose(), -size * balance * key.transpose(),
          size / balance * query.transpose();
      inputs.push_back(std::move(tokens));
    }
  }
}

// Row `width` of a QK circuit belongs to the query bias: the zero token reads it.
Matrix<double> coordinate(Index width, Index place) {
  Matrix<double> token = Matrix<double>::Zero(width, 1);
  if (place < width) token(place, 0) = 1;
  return token;
}

void add_sparse_tokens(Inputs& inputs, Index width, const Suspects& suspects) {
  const auto [value_row, value_column] = leading_entry(suspects.vo_a, suspects.vo_b);
  const auto [row, column] = leading_entry(suspects.qk_a, suspects.qk_b);
  const double log_entry =
      log_size(std::abs(suspects.qk_a.value.left.row(row).dot(suspects.qk_a.value.right.row(column))),
               suspects.qk_a.exponent);
  const double log_diagonal = log_size(
      suspects.qk_a.value.left.row(value_row).norm() * suspects.qk_a.value.right.row(value_row).norm(),
      suspects.qk_a.exponent);
  const double log_typical = std::isfinite(log_diagonal) ? log_diagonal : 0;
  add_equal_tokens(inputs, coordinate(width, value_row), {std::exp2(-log_typical / 2)});
  add_opposite_keys(inputs, coordinate(width, row), coordinate(width, column), log_entry);
}

void add_directed_tokens(Inputs& inputs, Index width, const Suspects& suspects, Random& random) {
  constexpr int draws = 4;
  const LeadingPair qk = leading_pair(Difference(suspects.qk_a, suspects.qk_b));
  const LeadingPair vo = leading_pair(Difference(suspects.vo_a, suspects.vo_b));
  Matrix<double> query = qk.left.topRows(width);
  if (query.norm() > 0) query.normalize();  // a bias alone leaves nothing
  Matrix<double> directions(3, width);
  directions << query.transpose(), qk.right.transpose(), vo.left.transpose();
  const Matrix<double> queries = directions * suspects.qk_a.value.left.topRows(width);
  const double logit = (queries * (directions * suspects.qk_a.value.right).transpose()).cwiseAbs().maxCoeff();
  const double log_logit = log_size(logit, suspects.qk_a.exponent);
  add_equal_tokens(inputs, vo.left, {token_sizes(log_logit).front()});
  add_opposite_keys(inputs, query, qk.right, log_logit);
  for (const double size : token_sizes(log_logit)) {
    for (int i = 0; i < draws; ++i)
      inputs.emplace_back(size * normal_matrix(random, random_length, directions.rows()) * directions);
  }
}

}  // namespace

std::vector<Matrix<double>> candidate_inputs(Index width, const Suspects& suspects, Random& random) {
  Inputs inputs{Matrix<double>::Zero(3, width)};
  const double log_norm = log_size(scaled_norm(suspects.qk_a), suspects.qk_a.exponent);
  for (const double size : token_sizes(log_norm))
    inputs.emplace_back(size * normal_matrix(random, random_length, width));
  add_sparse_tokens(inputs, width, suspects);
  add_directed_tokens(inputs, width, suspects, random);
  return inputs;
}

}  // namespace attnsym
