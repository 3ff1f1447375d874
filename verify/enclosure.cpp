#include "verify/enclosure.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "symmetry/circuits.hpp"
#include "symmetry/gains.hpp"
#include "symmetry/permutation.hpp"
#include "symmetry/safe_norm.hpp"

namespace attnsym {
namespace {

using Dense = Matrix<double>;

constexpr double unit = 0x1p-53;
constexpr double underflow = 1e-290;  // far above what sums of subnormal results can lose

// |computed - true| <= gamma(n) * (the same expression in absolute values) for n chained operations, in any
// order of summation, with room for the errors of computing that bound itself.
double gamma(Index operations) { return 1.01 * unit * static_cast<double>(operations + 4); }

// A factor that makes up for computing a radius in rounded arithmetic.
double outward(Index operations) { return 1 + 4 * gamma(operations); }

// x W + b for x known up to dx.
Enclosure project(const Dense& x, const Dense& dx, const Dense& weight, const Dense& weight_radius,
                  const RowVector<double>& bias, const RowVector<double>& bias_radius) {
  const Dense size = x.cwiseAbs() + dx;
  Enclosure result{x * weight, size * weight_radius};
  Dense magnitude = x.cwiseAbs() * weight.cwiseAbs();
  if (bias.size() > 0) {
    result.center.rowwise() += bias;
    result.radius.rowwise() += bias_radius;
    magnitude.rowwise() += RowVector<double>(bias.cwiseAbs());
  }
  result.radius += dx * weight.cwiseAbs() + gamma(x.cols() + 1) * magnitude;
  return result;
}

// The scores of one query, each known up to an error.
struct Logits {
  RowVector<double> center;
  RowVector<double> radius;
};

// The weights of a softmax; the errors in `radius`.
Enclosure enclose_softmax(const Logits& logits) {
  const Index n = logits.center.size();
  Enclosure weights{Dense(1, n), Dense(1, n)};
  const RowVector<double>& center = logits.center;
  const RowVector<double> error = logits.radius + 4 * unit * center.cwiseAbs();
  for (Index m = 0; m < n; ++m) {
    double others = 0;  // the other terms of the denominator over term m: as computed, and at their extremes
    double fewest = 0;
    double most = 0;
    for (Index j = 0; j < n; ++j) {
      if (j == m) continue;
      others += std::exp(center(j) - center(m));
      fewest += std::exp((center(j) - error(j)) - (center(m) + error(m)));
      most += std::exp((center(j) + error(j)) - (center(m) - error(m)));
    }
    const double weight = 1 / (1 + others);
    weights.center(0, m) = weight;
    weights.radius(0, m) =
        std::max(1 / (1 + fewest) - weight, weight - 1 / (1 + most)) + gamma(8 * n) * weight;
  }
  return weights;
}

// The squared lengths of rows, as computed and at their extremes: errors move them most if they all pull the
// same way.
struct SquaredLengths {
  Eigen::ArrayXd middle, shortest, longest;
  Index width = 0;  // how many squares went in

  explicit SquaredLengths(const Enclosure& rows)
      : middle(rows.center.rowwise().squaredNorm()),
        shortest((rows.center.cwiseAbs() - rows.radius).cwiseMax(0.0).rowwise().squaredNorm()),
        longest((rows.center.cwiseAbs() + rows.radius).rowwise().squaredNorm()),
        width(rows.center.cols()) {}

  SquaredLengths& operator+=(const SquaredLengths& other) {
    middle += other.middle;
    shortest += other.shortest;
    longest += other.longest;
    width += other.width;
    return *this;
  }
};

// Rows over their RMS norms, times a gain.
Enclosure normalized_rows(Enclosure rows, const SquaredLengths& squares, const QkNorm& norm,
                          const RowVector<double>& gain, const RowVector<double>& gain_radius) {
  const double rounded = gamma(squares.width + 8);
  const auto size_of = [&](double square) {
    return std::sqrt(square / static_cast<double>(squares.width) + norm.epsilon);
  };
  for (Index n = 0; n < rows.center.rows(); ++n) {
    const RowVector<double> size = rows.center.row(n).cwiseAbs();
    const RowVector<double> error = rows.radius.row(n);
    const double middle = size_of(squares.middle(n));
    const double shortest = size_of(squares.shortest(n)) * (1 - rounded);
    const double longest = size_of(squares.longest(n)) * (1 + rounded);
    const double stretch = std::max(1 / shortest - 1 / middle, 1 / middle - 1 / longest);
    const RowVector<double> gained = size.cwiseProduct(gain.cwiseAbs());
    const RowVector<double> moved =
        error.cwiseProduct(gain.cwiseAbs() + gain_radius) + size.cwiseProduct(gain_radius);
    rows.radius.row(n) = (1 + rounded) * (moved / shortest + gained * stretch) + rounded * gained / middle;
    rows.center.row(n) = rows.center.row(n).cwiseProduct(gain) / middle;
  }
  return rows;
}

const QueryHead<double>& reader_of(const AttentionWeights<double>& weights, const AttentionConfig& config,
                                   Index head) {
  return weights.groups[head / config.readers_per_group()].readers[head % config.readers_per_group()];
}

Enclosure project_queries(const StoredAttention& module, Index head, const Dense& tokens) {
  const QueryHead<double>& reader = reader_of(module.weights, module.config, head);
  const QueryHead<double>& radius = reader_of(module.radius, module.config, head);
  return project(tokens, Dense::Zero(tokens.rows(), tokens.cols()), reader.query, radius.query,
                 reader.query_bias, radius.query_bias);
}

Enclosure project_keys(const StoredAttention& module, Index group, const Dense& tokens) {
  const KvGroup<double>& keys = module.weights.groups[group];
  const KvGroup<double>& radius = module.radius.groups[group];
  return project(tokens, Dense::Zero(tokens.rows(), tokens.cols()), keys.key, radius.key, keys.key_bias,
                 radius.key_bias);
}

// The squared lengths that norms over all heads divide by; nothing where there are none.
struct CommonLengths {
  std::optional<SquaredLengths> queries;
  std::optional<SquaredLengths> keys;

  CommonLengths(const StoredAttention& module, const Dense& tokens) {
    if (!module.config.qk_norm || !module.config.qk_norm->over_all_heads) return;
    const auto add = [](std::optional<SquaredLengths>& sum, const Enclosure& rows) {
      const SquaredLengths squares(rows);
      sum ? * sum += squares : sum.emplace(squares);
    };
    for (Index head = 0; head < module.config.heads; ++head)
      add(queries, project_queries(module, head, tokens));
    for (Index group = 0; group < module.config.groups; ++group)
      add(keys, project_keys(module, group, tokens));
  }
};

// Turns the pairs of every row by the angles of its position.
Enclosure turned(Enclosure rows, const Rotary& rotary) {
  const std::vector<double> frequencies = rotary.at(rows.center.rows());
  for (Index n = 0; n < rows.center.rows(); ++n) {
    for (Index p = 0; p < rotary.pairs(); ++p) {
      const auto [first, second] = rotary.columns(p);
      const double angle = frequencies[p] * static_cast<double>(n);
      const double cosine = rotary.gain * std::cos(angle);
      const double sine = rotary.gain * std::sin(angle);
      const double x = rows.center(n, first);
      const double y = rows.center(n, second);
      const double x_radius = rows.radius(n, first);
      const double y_radius = rows.radius(n, second);
      // The angle is rounded once, cosine and sine are within one unit, and two products are added.
      const double arithmetic =
          unit * rotary.gain * (std::abs(angle) + 10) * (std::abs(x) + std::abs(y) + x_radius + y_radius);
      rows.center(n, first) = x * cosine - y * sine;
      rows.center(n, second) = x * sine + y * cosine;
      rows.radius(n, first) = std::abs(cosine) * x_radius + std::abs(sine) * y_radius + arithmetic;
      rows.radius(n, second) = std::abs(sine) * x_radius + std::abs(cosine) * y_radius + arithmetic;
    }
  }
  return rows;
}

// cap tanh(x / cap) is monotone and never steeper than 1.
void apply_softcap(Logits& logits, double cap) {
  const auto capped = [&](double x) { return cap * std::tanh(x / cap); };
  for (Index m = 0; m < logits.center.size(); ++m) {
    const double x = logits.center(m);
    const double reach = logits.radius(m);
    const double center = capped(x);
    logits.radius(m) = std::max(capped(x + reach) - center, center - capped(x - reach)) +
                       16 * unit * std::min(cap, std::abs(x) + reach);
    logits.center(m) = center;
  }
}

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

  void add_to(Enclosure& output, const Dense& tokens, const CommonLengths& lengths) const {
    const Enclosure queries = turned(scored_queries(tokens, lengths), config_.rotary);
    Enclosure keys;
    if (!relative_keys_) keys = turned(scored_keys(tokens, lengths), config_.rotary);
    for (Index n = 0; n < tokens.rows(); ++n) {
      const std::vector<Index> seen = seen_by(config_, n, tokens.rows());
      const Dense seen_tokens = tokens(seen, Eigen::all);
      const Dense apart = seen_tokens.rowwise() - tokens.row(n);
      const Enclosure query{queries.center.row(n), queries.radius.row(n)};
      Logits logits = relative_keys_
                          ? logits_of(query, relative_keys(apart))
                          : logits_of(query, {keys.center(seen, Eigen::all), keys.radius(seen, Eigen::all)});
      add_positions(logits, n, seen);
      if (config_.softcap > 0) apply_softcap(logits, config_.softcap);
      if (config_.sinks) {
        const Dense homogeneous = with_ones(seen_tokens);
        add_row(output, n, RowVector<double>::Zero(homogeneous.cols()), homogeneous, beside_sink(logits),
                gates_of(tokens.row(n)));
      } else {
        add_row(output, n, tokens.row(n), apart, enclose_softmax(logits), gates_of(tokens.row(n)));
      }
    }
  }

 private:
  // As they enter scores, but for positions: normalised.
  Enclosure scored_queries(const Dense& tokens, const CommonLengths& lengths) const {
    Enclosure rows = project_queries(module_, head_, tokens);
    if (!config_.qk_norm) return rows;
    const SquaredLengths squares = lengths.queries ? *lengths.queries : SquaredLengths(rows);
    return normalized_rows(std::move(rows), squares, *config_.qk_norm,
                           query_gain(module_.weights, config_, head_),
                           query_gain(module_.radius, config_, head_));
  }

  Enclosure scored_keys(const Dense& tokens, const CommonLengths& lengths) const {
    const Index group = head_ / config_.readers_per_group();
    Enclosure rows = project_keys(module_, group, tokens);
    if (!config_.qk_norm) return rows;
    const SquaredLengths squares = lengths.keys ? *lengths.keys : SquaredLengths(rows);
    return normalized_rows(std::move(rows), squares, *config_.qk_norm,
                           key_gain(module_.weights, config_, group),
                           key_gain(module_.radius, config_, group, 0.0));
  }

  static Dense with_ones(const Dense& tokens) {
    Dense result(tokens.rows(), tokens.cols() + 1);
    result << tokens, Dense::Ones(tokens.rows(), 1);
    return result;
  }

  void carry_value_bias() {
    value_ = homogeneous(group_.value, group_.value_bias);
    value_radius_ = homogeneous(group_radius_.value, group_radius_.value_bias);
    value_bias_ = value_bias_radius_ = RowVector<double>();
  }

  Enclosure relative_keys(const Dense& apart) const {
    return {apart * group_.key,
            apart.cwiseAbs() * group_radius_.key + gamma(apart.cols() + 1) * (apart.cwiseAbs() * key_size_)};
  }

  Logits logits_of(const Enclosure& query, const Enclosure& keys) const {
    const double scale = std::abs(config_.scale);
    const Dense query_size = query.center.cwiseAbs();
    const Dense key_size = keys.center.cwiseAbs();
    const Dense radius =
        scale * (query_size * keys.radius.transpose() + query.radius * (key_size + keys.radius).transpose() +
                 gamma(key_size.cols() + 1) * (query_size * key_size.transpose()));
    return {config_.scale * (query.center * keys.center.transpose()),
            outward(group_.key.rows() + key_size.cols()) * radius};
  }

  void add_positions(Logits& logits, Index query, const std::vector<Index>& seen) const {
    for (std::size_t m = 0; m < seen.size(); ++m) {
      const Index distance = seen[m] - query;
      if (!config_.slopes.empty())
        add_offset(logits, m, config_.slopes[head_] * static_cast<double>(distance), 0);
      if (config_.distance_buckets.empty()) continue;
      const Index bucket = config_.bucket(distance);
      add_offset(logits, m, reader_.distance_bias(bucket), reader_radius_.distance_bias(bucket));
    }
  }

  static void add_offset(Logits& logits, std::size_t m, double offset, double radius) {
    logits.center(m) += offset;
    logits.radius(m) += radius + gamma(2) * (std::abs(logits.center(m)) + std::abs(offset));
  }

  // The weights of the tokens alone; the sink keeps the rest.
  Enclosure beside_sink(const Logits& logits) const {
    const Index count = logits.center.size();
    Logits all{RowVector<double>(count + 1), RowVector<double>(count + 1)};
    all.center << logits.center, reader_.sink(0);
    all.radius << logits.radius, reader_radius_.sink(0);
    const Enclosure weights = enclose_softmax(all);
    return {weights.center.leftCols(count), weights.radius.leftCols(count)};
  }

  // What the mixed values are multiplied with: ones, or the gates of a token.
  Enclosure gates_of(const Dense& token) const {
    Enclosure gates{Dense::Ones(1, value_.cols()), Dense::Zero(1, value_.cols())};
    if (!config_.output_gate) return gates;
    const Enclosure x = project(token, Dense::Zero(1, token.cols()), reader_.gate, reader_radius_.gate,
                                reader_.gate_bias, reader_radius_.gate_bias);
    for (Index k = 0; k < value_.cols(); ++k) {
      const double center = sigmoid(x.center(0, k));
      gates.center(0, k) = center;
      gates.radius(0, k) = std::max(sigmoid(x.center(0, k) + x.radius(0, k)) - center,
                                    center - sigmoid(x.center(0, k) - x.radius(0, k))) +
                           16 * unit;
    }
    return gates;
  }

  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

  // (x V + bv) times the gates, times O, where x is `base` plus the average of `apart` by the weights.
  void add_row(Enclosure& output, Index n, const RowVector<double>& base, const Dense& apart,
               const Enclosure& weights, const Enclosure& gates) const {
    const Index operations = apart.cols() + apart.rows() + value_.cols() + 2;
    const Dense distance = apart.cwiseAbs();
    const Dense average = base + weights.center * apart;
    const Dense arithmetic = gamma(apart.rows() + 1) * (base.cwiseAbs() + weights.center * distance);
    const Enclosure mixed =
        project(average, arithmetic, value_, value_radius_, value_bias_, value_bias_radius_);
    // What the weights of the softmax leave open moves the average along `apart` only.
    const Dense moved = (apart * value_) * gates.center.row(0).asDiagonal() * reader_.output;
    const Dense moved_error =
        gamma(operations) * (distance * value_size_ * gates.center.row(0).asDiagonal() * output_size_);
    const Dense strayed = weights.radius * distance;
    const Dense strayed_mixed = strayed * value_size_;
    const Dense strayed_error = strayed * value_radius_;
    const Dense largest_gates = gates.center + gates.radius;
    const Dense gated = mixed.center.cwiseProduct(gates.center);
    const Dense gated_radius = mixed.radius.cwiseProduct(largest_gates) +
                               (mixed.center.cwiseAbs() + strayed_mixed).cwiseProduct(gates.radius);
    Dense radius = weights.radius * (moved.cwiseAbs() + moved_error);
    radius += (gated_radius + strayed_error.cwiseProduct(largest_gates)) * output_size_;
    radius +=
        (gated.cwiseAbs() + gated_radius + (strayed_mixed + strayed_error).cwiseProduct(largest_gates)) *
        reader_radius_.output;
    radius += gamma(operations) * (gated.cwiseAbs() * output_size_);
    output.center.row(n) += gated * reader_.output;
    output.radius.row(n) += outward(operations) * radius;
    output.radius.row(n) += gamma(1) * output.center.row(n).cwiseAbs();
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

void require_same_shape(const Enclosure& x, const Enclosure& y) {
  require_same_size("compared enclosures (rows)", x.center.rows(), y.center.rows());
  require_same_size("compared enclosures (columns)", x.center.cols(), y.center.cols());
}

}  // namespace

Enclosure enclose_attend(const StoredAttention& module, const Matrix<double>& tokens) {
  require_fits(module.weights, module.config);
  require_fits(module.radius, module.config);
  require_same_size("the tokens and the model", tokens.cols(), module.config.model_width);
  const Dense zero = Dense::Zero(tokens.rows(), tokens.cols());
  Enclosure output{zero, zero};
  const CommonLengths lengths(module, tokens);
  for (Index head = 0; head < module.config.heads; ++head)
    Reader(module, head).add_to(output, tokens, lengths);
  if (module.config.output_bias) {
    output.center.rowwise() += module.weights.output_bias;
    output.radius.rowwise() += module.radius.output_bias;
    output.radius += gamma(1) * output.center.cwiseAbs();
  }
  output.radius = (outward(module.config.heads) * output.radius).array() + underflow;
  return output;
}

StoredAttention taken_as_exact(StoredAttention module) {
  for_each_slot(module.radius, [](auto& slot) { slot.setZero(); });
  return module;
}

double distance_at_least(const Enclosure& x, const Enclosure& y) {
  require_same_shape(x, y);
  const Dense apart = (x.center - y.center).cwiseAbs();
  const Dense surely = (1 - gamma(2)) * apart - (1 + gamma(2)) * (x.radius + y.radius);
  if (!surely.allFinite()) return 0;
  return (1 - gamma(surely.size())) * safe_norm(surely.cwiseMax(0.0));
}

double largest_separation(const Enclosure& x, const Enclosure& y) {
  require_same_shape(x, y);
  const Dense apart = (x.center - y.center).cwiseAbs();
  const Dense error = x.radius + y.radius;
  if (!apart.allFinite() || !error.allFinite()) return 0;
  return apart.cwiseQuotient(error).maxCoeff();
}

}  // namespace attnsym
