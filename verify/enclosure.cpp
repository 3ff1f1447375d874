#include "verify/enclosure.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "symmetry/circuits.hpp"
#include "symmetry/gains.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/permutation.hpp"
#include "symmetry/safe_norm.hpp"
#include "verify/enclosed_parts.hpp"

namespace attnsym {
namespace {

using enclosed::Dense;
using enclosed::gamma;
using enclosed::Logits;
using enclosed::outward;
using enclosed::project;
using enclosed::size_of;
using enclosed::SquaredLengths;
using enclosed::turned;
using enclosed::underflow;

const QueryHead<double>& reader_of(const AttentionWeights<double>& weights, const AttentionConfig& config,
                                   Index head) {
  return weights.groups[head / config.readers_per_group()].readers[head % config.readers_per_group()];
}

template <RealScalar S>
Enclosed<S> project_queries(const StoredAttention& module, Index head, const Matrix<S>& tokens) {
  const QueryHead<double>& reader = reader_of(module.weights, module.config, head);
  const QueryHead<double>& radius = reader_of(module.radius, module.config, head);
  return project<S>(tokens, Dense::Zero(tokens.rows(), tokens.cols()), reader.query, radius.query,
                    reader.query_bias, radius.query_bias);
}

template <RealScalar S>
Enclosed<S> project_keys(const StoredAttention& module, Index group, const Matrix<S>& tokens) {
  const KvGroup<double>& keys = module.weights.groups[group];
  const KvGroup<double>& radius = module.radius.groups[group];
  return project<S>(tokens, Dense::Zero(tokens.rows(), tokens.cols()), keys.key, radius.key, keys.key_bias,
                    radius.key_bias);
}

// The squared lengths that norms over all heads divide by; nothing where there are none.
template <RealScalar S>
struct CommonLengths {
  std::optional<SquaredLengths<S>> queries;
  std::optional<SquaredLengths<S>> keys;

  CommonLengths(const StoredAttention& module, const Matrix<S>& tokens) {
    if (!module.config.qk_norm || !module.config.qk_norm->over_all_heads) return;
    const auto add = [](std::optional<SquaredLengths<S>>& sum, const Enclosed<S>& rows) {
      const SquaredLengths<S> squares(rows);
      sum ? * sum += squares : sum.emplace(squares);
    };
    for (Index head = 0; head < module.config.heads; ++head)
      add(queries, project_queries(module, head, tokens));
    for (Index group = 0; group < module.config.groups; ++group)
      add(keys, project_keys(module, group, tokens));
  }
};

// The tokens that one query sees.
std::vector<Index> seen_by(const AttentionConfig& config, Index query, Index count) {
  std::vector<Index> seen;
  for (Index m = 0; m < (config.causal ? query + 1 : count); ++m) {
    if (config.window == 0 || std::abs(query - m) < config.window) seen.push_back(m);
  }
  return seen;
}

// One reader of one key/value group, evaluated at one query token. Where the attention weights sum to one,
// values are taken relative to the query's own token; where scores do not depend on positions and softmax
// does not see what they share, keys are too. So what equal tokens have in common drops out with its errors.
// Beside a sink, values are relative to what the sink brings, nothing, and a constant coordinate carries the
// value bias.
template <RealScalar S>
class Reader {
 public:
  Reader(const StoredAttention& module, Index head)
      : module_(module),
        config_(module.config),
        head_(head),
        group_(module.weights.groups[head / config_.readers_per_group()]),
        group_radius_(module.radius.groups[head / config_.readers_per_group()]),
        reader_(reader_of(module.weights, config_, head)),
        reader_radius_(reader_of(module.radius, config_, head)),
        relative_keys_(config_.rotary.pairs() == 0 && config_.softcap == 0 && !config_.sinks &&
                       !config_.qk_norm),
        key_size_(group_.key.cwiseAbs()),
        value_(group_.value),
        value_radius_(group_radius_.value),
        value_bias_(group_.value_bias),
        value_bias_radius_(group_radius_.value_bias),
        output_size_(reader_.output.cwiseAbs()) {
    if (config_.sinks) carry_value_bias();
    value_size_ = value_.cwiseAbs();
  }

  // Adds to row i of the output what the head puts out at token queries[i].
  void add_to(Enclosed<S>& output, const Matrix<S>& tokens, const std::vector<Index>& queries,
              const CommonLengths<S>& lengths) const {
    const Enclosed<S> all_queries = turned(scored_queries(tokens, lengths), config_.rotary);
    Enclosed<S> keys;
    if (!relative_keys_) keys = turned(scored_keys(tokens, lengths), config_.rotary);
    for (std::size_t i = 0; i < queries.size(); ++i) {
      const Index n = queries[i];
      const auto row = static_cast<Index>(i);
      const std::vector<Index> seen = seen_by(config_, n, tokens.rows());
      const Matrix<S> seen_tokens = tokens(seen, Eigen::all);
      const Matrix<S> apart = seen_tokens.rowwise() - tokens.row(n);
      const Enclosed<S> query{all_queries.center.row(n), all_queries.radius.row(n)};
      Logits<S> logits =
          relative_keys_ ? logits_of(query, relative_keys(apart))
                         : logits_of(query, {keys.center(seen, Eigen::all), keys.radius(seen, Eigen::all)});
      add_positions(logits, n, seen);
      if (config_.softcap > 0) enclosed::apply_softcap(logits, config_.softcap);
      if (config_.sinks) {
        const Matrix<S> homogeneous = with_ones(seen_tokens);
        add_row(output, row, RowVector<S>::Zero(homogeneous.cols()), homogeneous, beside_sink(logits),
                gates_of(tokens.row(n)));
      } else {
        add_row(output, row, tokens.row(n), apart, enclosed::softmax(logits), gates_of(tokens.row(n)));
      }
    }
  }

 private:
  // As they enter scores, but for positions: normalised.
  Enclosed<S> scored_queries(const Matrix<S>& tokens, const CommonLengths<S>& lengths) const {
    Enclosed<S> rows = project_queries(module_, head_, tokens);
    if (!config_.qk_norm) return rows;
    const SquaredLengths<S> squares = lengths.queries ? *lengths.queries : SquaredLengths<S>(rows);
    return normalized_rows(std::move(rows), squares, *config_.qk_norm,
                           query_gain(module_.weights, config_, head_),
                           query_gain(module_.radius, config_, head_));
  }

  Enclosed<S> scored_keys(const Matrix<S>& tokens, const CommonLengths<S>& lengths) const {
    const Index group = head_ / config_.readers_per_group();
    Enclosed<S> rows = project_keys(module_, group, tokens);
    if (!config_.qk_norm) return rows;
    const SquaredLengths<S> squares = lengths.keys ? *lengths.keys : SquaredLengths<S>(rows);
    return normalized_rows(std::move(rows), squares, *config_.qk_norm,
                           key_gain(module_.weights, config_, group),
                           key_gain(module_.radius, config_, group, 0.0));
  }

  static Matrix<S> with_ones(const Matrix<S>& tokens) {
    Matrix<S> result(tokens.rows(), tokens.cols() + 1);
    result.leftCols(tokens.cols()) = tokens;
    result.rightCols(1).setOnes();
    return result;
  }

  void carry_value_bias() {
    value_ = homogeneous(group_.value, group_.value_bias);
    value_radius_ = homogeneous(group_radius_.value, group_radius_.value_bias);
    value_bias_ = value_bias_radius_ = RowVector<double>();
  }

  Enclosed<S> relative_keys(const Matrix<S>& apart) const {
    const Dense distance = size_of(apart);
    const Dense radius =
        multiply(distance, group_radius_.key) + gamma<S>(apart.cols() + 1) * multiply(distance, key_size_);
    return {multiply(apart, group_.key.cast<S>()), radius.array() + underflow(2 * apart.cols())};
  }

  Logits<S> logits_of(const Enclosed<S>& query, const Enclosed<S>& keys) const {
    const double scale = std::abs(config_.scale);
    const Dense query_size = size_of(query.center);
    const Dense key_size = size_of(keys.center);
    const Dense radius =
        (multiply_nt(query_size, keys.radius) + multiply_nt(query.radius, key_size + keys.radius) +
         gamma<S>(key_size.cols() + 1) * multiply_nt(query_size, key_size))
            .array() +
        underflow(4 * key_size.cols());
    return {S(config_.scale) * multiply_nt(query.center, keys.center),
            outward(group_.key.rows() + key_size.cols()) * scale * radius};
  }

  void add_positions(Logits<S>& logits, Index query, const std::vector<Index>& seen) const {
    for (std::size_t m = 0; m < seen.size(); ++m) {
      const Index distance = seen[m] - query;
      if (!config_.slopes.empty())
        add_offset(logits, m, S(config_.slopes[head_]) * S(static_cast<double>(distance)), 0);
      if (config_.distance_buckets.empty()) continue;
      const Index bucket = config_.bucket(distance);
      add_offset(logits, m, S(reader_.distance_bias(bucket)), reader_radius_.distance_bias(bucket));
    }
  }

  static void add_offset(Logits<S>& logits, std::size_t m, const S& offset, double radius) {
    using std::abs;
    const auto place = static_cast<Index>(m);
    logits.center(place) += offset;
    logits.radius(place) +=
        radius + gamma<S>(2) * static_cast<double>(S(abs(logits.center(place)) + abs(offset)));
  }

  // The weights of the tokens alone; the sink keeps the rest.
  Enclosed<S> beside_sink(const Logits<S>& logits) const {
    const Index count = logits.center.size();
    Logits<S> all{RowVector<S>(count + 1), RowVector<double>(count + 1)};
    all.center.head(count) = logits.center;
    all.center(count) = S(reader_.sink(0));
    all.radius << logits.radius, reader_radius_.sink(0);
    const Enclosed<S> weights = enclosed::softmax(all);
    return {weights.center.leftCols(count), weights.radius.leftCols(count)};
  }

  // What the mixed values are multiplied with: ones, or the gates of a token.
  Enclosed<S> gates_of(const Matrix<S>& token) const {
    Enclosed<S> gates{Matrix<S>::Ones(1, value_.cols()), Dense::Zero(1, value_.cols())};
    if (!config_.output_gate) return gates;
    const Enclosed<S> x = project<S>(token, Dense::Zero(1, token.cols()), reader_.gate, reader_radius_.gate,
                                     reader_.gate_bias, reader_radius_.gate_bias);
    for (Index k = 0; k < value_.cols(); ++k) {
      gates.center(0, k) = sigmoid(x.center(0, k));
      gates.radius(0, k) =
          enclosed::spread<S>(sigmoid, x.center(0, k), S(x.radius(0, k))) + 16 * enclosed::unit<S>;
    }
    return gates;
  }

  static S sigmoid(const S& x) {
    using std::exp;
    return S(1) / (S(1) + exp(S(-x)));
  }

  // (x V + bv) times the gates, times O, where x is `base` plus the average of `apart` by the weights.
  void add_row(Enclosed<S>& output, Index n, const RowVector<S>& base, const Matrix<S>& apart,
               const Enclosed<S>& weights, const Enclosed<S>& gates) const {
    const Index operations = apart.cols() + apart.rows() + value_.cols() + 2;
    const double lost = underflow(operations);  // by sums of products that vanish in double
    const Dense distance = size_of(apart);
    const Matrix<S> average = base + multiply(weights.center, apart);
    const Dense arithmetic =
        (gamma<S>(apart.rows() + 1) * (size_of(base) + multiply(size_of(weights.center), distance))).array() +
        lost;
    const Enclosed<S> mixed =
        project<S>(average, arithmetic, value_, value_radius_, value_bias_, value_bias_radius_);
    // What the weights of the softmax leave open moves the average along `apart` only; double is good enough.
    const Dense gate_sizes = size_of(gates.center);
    const Dense moved =
        (apart.template cast<double>() * value_) * gate_sizes.row(0).asDiagonal() * reader_.output;
    const Dense moved_size = multiply(distance, value_size_) * gate_sizes.row(0).asDiagonal();
    const Dense moved_error =
        multiply(Dense((gamma<double>(operations) * moved_size).array() + lost), output_size_);
    const Dense strayed = multiply(weights.radius, distance).array() + lost;
    const Dense strayed_mixed = multiply(strayed, value_size_).array() + lost;
    const Dense strayed_error = multiply(strayed, value_radius_).array() + lost;
    const Dense largest_gates = gate_sizes + gates.radius;
    const Matrix<S> gated = mixed.center.cwiseProduct(gates.center);
    const Dense gated_size = size_of(gated);
    const Dense gated_radius = (mixed.radius.cwiseProduct(largest_gates) +
                                (size_of(mixed.center) + strayed_mixed).cwiseProduct(gates.radius))
                                   .array() +
                               lost;
    Dense radius = multiply(weights.radius, moved.cwiseAbs() + moved_error);
    add_product(radius, gated_radius + strayed_error.cwiseProduct(largest_gates), output_size_);
    radius += (gated_size + gated_radius + (strayed_mixed + strayed_error).cwiseProduct(largest_gates)) *
              reader_radius_.output;
    radius += gamma<S>(operations) * multiply(gated_size, output_size_);
    radius.array() += lost;
    output.center.row(n) += multiply(gated, reader_.output.cast<S>());
    output.radius.row(n) += outward(operations) * radius;
    output.radius.row(n) += gamma<S>(1) * size_of(output.center.row(n));
  }

  const StoredAttention& module_;
  const AttentionConfig& config_;
  Index head_;
  const KvGroup<double>& group_;
  const KvGroup<double>& group_radius_;
  const QueryHead<double>& reader_;
  const QueryHead<double>& reader_radius_;
  bool relative_keys_;
  Dense key_size_;
  Dense value_;
  Dense value_radius_;
  RowVector<double> value_bias_;
  RowVector<double> value_bias_radius_;
  Dense value_size_;
  Dense output_size_;
};

// The outputs at some of the tokens, one row each.
template <RealScalar S>
Enclosed<S> enclose(const StoredAttention& module, const Dense& input, const std::vector<Index>& queries) {
  require_fits(module.weights, module.config);
  require_fits(module.radius, module.config);
  require_same_size("the tokens and the model", input.cols(), module.config.model_width);
  const auto rows = static_cast<Index>(queries.size());
  const Matrix<S> tokens = input.cast<S>();
  Enclosed<S> output{Matrix<S>::Zero(rows, tokens.cols()), Dense::Zero(rows, tokens.cols())};
  const CommonLengths<S> lengths(module, tokens);
  for (Index head = 0; head < module.config.heads; ++head)
    Reader<S>(module, head).add_to(output, tokens, queries, lengths);
  if (module.config.output_bias) {
    output.center.rowwise() += RowVector<S>(module.weights.output_bias.cast<S>());
    output.radius.rowwise() += module.radius.output_bias;
    output.radius += gamma<S>(1) * size_of(output.center);
  }
  output.radius *= outward(module.config.heads);
  return output;
}

template <RealScalar S>
void require_same_shape(const Enclosed<S>& x, const Enclosed<S>& y) {
  require_same_size("compared enclosures (rows)", x.center.rows(), y.center.rows());
  require_same_size("compared enclosures (columns)", x.center.cols(), y.center.cols());
}

}  // namespace

Enclosure enclose_attend(const StoredAttention& module, const Matrix<double>& tokens) {
  std::vector<Index> all(static_cast<std::size_t>(tokens.rows()));
  std::iota(all.begin(), all.end(), 0);
  return enclose<double>(module, tokens, all);
}

Enclosed<Float50> enclose_at_fifty_digits(const StoredAttention& module, const Matrix<double>& tokens,
                                          Index query) {
  return enclose<Float50>(module, tokens, {query});
}

StoredAttention taken_as_exact(StoredAttention module) {
  for_each_slot(module.radius, [](auto& slot) { slot.setZero(); });
  return module;
}

template <RealScalar S>
double distance_at_least(const Enclosed<S>& x, const Enclosed<S>& y) {
  require_same_shape(x, y);
  const Dense apart = size_of(Matrix<S>(x.center - y.center));
  const Dense surely = (1 - gamma<double>(4)) * apart - (1 + gamma<double>(2)) * (x.radius + y.radius);
  if (!surely.allFinite()) return 0;
  return (1 - gamma<double>(surely.size())) * safe_norm(surely.cwiseMax(0.0));
}

template double distance_at_least(const Enclosed<double>&, const Enclosed<double>&);
template double distance_at_least(const Enclosed<Float50>&, const Enclosed<Float50>&);

double largest_separation(const Enclosure& x, const Enclosure& y) {
  require_same_shape(x, y);
  const Dense apart = (x.center - y.center).cwiseAbs();
  const Dense error = x.radius + y.radius;
  if (!apart.allFinite() || !error.allFinite()) return 0;
  return apart.cwiseQuotient(error).maxCoeff();
}

}  // namespace attnsym
