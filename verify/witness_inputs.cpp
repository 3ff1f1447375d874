#include "verify/witness_inputs.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/centred.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/safe_norm.hpp"

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
    pair.left = multiply(d.left, multiply_tn(d.right, pair.right));
    normalize(pair.left);
    pair.right = multiply(d.right, multiply_tn(d.left, pair.left));
    normalize(pair.right);
  }
  return pair;
}

// A place in a circuit: query coordinate (or, beyond the last, the query bias) and key coordinate.
struct Entry {
  Index row;
  Index column;
};

// Row norms of two factors together, never zero: a row of small weights has little rounding noise.
Matrix<double> noise_scale(const Matrix<double>& a, const Matrix<double>& b) {
  const Matrix<double> size = a.rowwise().norm() + b.rowwise().norm();
  return size.cwiseMax(1e-3 * size.maxCoeff() + 1e-300);
}

// The entries of the difference that are largest beside the noise of their row and column: the row that
// differs most, ascent on single entries from there, and the same without the columns found.
std::vector<Entry> leading_entries(const StoredCircuit& a, const StoredCircuit& b) {
  constexpr int count = 3;
  constexpr int iterations = 3;
  const Difference d(a, b);
  const Matrix<double> left = noise_scale(a.value.left, b.value.left).cwiseInverse().asDiagonal() * d.left;
  Matrix<double> right = noise_scale(a.value.right, b.value.right).cwiseInverse().asDiagonal() * d.right;
  std::vector<Entry> entries;
  for (int k = 0; k < count; ++k) {
    Entry entry{};
    multiply(left, multiply_tn(right, right)).cwiseProduct(left).rowwise().sum().maxCoeff(&entry.row);
    for (int i = 0; i < iterations; ++i) {
      (right * left.row(entry.row).transpose()).cwiseAbs().maxCoeff(&entry.column);
      (left * right.row(entry.column).transpose()).cwiseAbs().maxCoeff(&entry.row);
    }
    right.row(entry.column).setZero();
    entries.push_back(entry);
  }
  return entries;
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

// Row and column `width` belong to biases: the zero token reads them.
Matrix<double> coordinate(Index width, Index place) {
  Matrix<double> token = Matrix<double>::Zero(width, 1);
  if (place < width) token(place, 0) = 1;
  return token;
}

void add_sparse_tokens(Inputs& inputs, Index width, const Suspects& suspects) {
  const Circuit<double>& qk = suspects.qk_a.value;
  const auto log_logit = [&](double scaled) { return log_size(std::abs(scaled), suspects.qk_a.exponent); };
  const Index value = leading_entries(suspects.vo_a, suspects.vo_b).front().row;
  const double typical = log_logit(qk.left.row(value).norm() * qk.right.row(value).norm());
  add_equal_tokens(inputs, coordinate(width, value), {token_sizes(typical).front()});
  for (const Entry& entry : leading_entries(suspects.qk_a, suspects.qk_b)) {
    add_opposite_keys(inputs, coordinate(width, entry.row), coordinate(width, entry.column),
                      log_logit(qk.left.row(entry.row).dot(qk.right.row(entry.column))));
  }
}

// The part of a singular vector that tokens can follow; a bias alone leaves nothing.
Matrix<double> token_direction(const Matrix<double>& vector, Index width) {
  Matrix<double> direction = vector.topRows(width);
  normalize(direction);
  return direction;
}

// The input with its last token, the query, as far away as brings out the harmonic, zero tokens or else
// copies of the first in between. Slow harmonics do not show at short distances.
Matrix<double> spaced(const Matrix<double>& input, const Harmonic& harmonic, bool zeros_allowed) {
  constexpr double longest = 48;
  const double quarter = std::acos(0.0) / harmonic.frequency;
  const auto gap = static_cast<Index>(std::min(longest, std::floor(quarter)));
  Matrix<double> tokens = input.row(0).replicate(input.rows() + gap, 1);
  if (zeros_allowed) tokens.setZero();
  tokens.topRows(input.rows() - 1) = input.topRows(input.rows() - 1);
  tokens.bottomRows(1) = input.bottomRows(1);
  return tokens;
}

void add_directed_tokens(Inputs& inputs, Index width, const Suspects& suspects, Random& random) {
  constexpr int draws = 4;
  const LeadingPair qk = leading_pair(Difference(suspects.qk_a, suspects.qk_b));
  const LeadingPair vo = leading_pair(Difference(suspects.vo_a, suspects.vo_b));
  const Matrix<double> query = token_direction(qk.left, width);
  const Matrix<double> key = token_direction(qk.right, width);
  const Matrix<double> value = token_direction(vo.left, width);
  Matrix<double> directions(3, width);
  directions << query.transpose(), key.transpose(), value.transpose();
  const Circuit<double>& circuit = suspects.qk_a.value;
  const Matrix<double> queries = multiply(directions, circuit.left.topRows(width));
  const double logit =
      multiply_nt(queries, multiply(directions, circuit.right.topRows(width))).cwiseAbs().maxCoeff();
  const double log_logit = log_size(logit, suspects.qk_a.exponent);
  add_equal_tokens(inputs, value, {token_sizes(log_logit).front()});
  add_opposite_keys(inputs, query, key, log_logit);
  for (const double size : token_sizes(log_logit)) {
    for (int i = 0; i < draws; ++i)
      inputs.emplace_back(size *
                          multiply(normal_matrix(random, random_length, directions.rows()), directions));
  }
}

}  // namespace

bool is_alike_in_short(const StoredAttention& a, const StoredAttention& b) {
  const auto is_long = [](const Rotary& rotary) {
    return !rotary.beyond || rotary.beyond->length >= longest_input;
  };
  if (!is_long(a.config.rotary) || !is_long(b.config.rotary)) return false;
  AttentionConfig config = a.config;
  config.rotary.beyond = b.config.rotary.beyond;
  return config == b.config && a.weights == b.weights;
}

std::vector<Matrix<double>> candidate_inputs(const AttentionConfig& config, const Suspects& suspects,
                                             Random& random) {
  const Index width = config.model_width;
  // A norm without an epsilon divides zero by zero.
  const bool zeros_allowed = !config.qk_norm || config.qk_norm->epsilon > 0;
  Inputs inputs{Matrix<double>::Zero(3, width)};
  const double log_norm = log_size(scaled_norm(suspects.qk_a), suspects.qk_a.exponent);
  for (const double size : token_sizes(log_norm))
    inputs.emplace_back(size * normal_matrix(random, random_length, width));
  add_sparse_tokens(inputs, width, suspects);
  add_directed_tokens(inputs, width, suspects, random);
  const std::size_t count = suspects.harmonic.frequency == 0 ? 0 : inputs.size();
  for (std::size_t i = 1; i < count; ++i)
    inputs.push_back(spaced(inputs[i], suspects.harmonic, zeros_allowed));
  for (Matrix<double>& input : inputs) {
    if (config.centred_inputs) input = centred_tokens(std::move(input));
  }
  return inputs;
}

}  // namespace attnsym
