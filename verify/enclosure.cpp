#include "verify/enclosure.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

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

// The weights of a softmax over logits that are known up to an error; the errors in `radius`.
Enclosure enclose_softmax(const RowVector<double>& logits, const RowVector<double>& radius) {
  const Index n = logits.size();
  Enclosure weights{Dense(1, n), Dense(1, n)};
  const RowVector<double> error = radius + 4 * unit * logits.cwiseAbs();
  for (Index m = 0; m < n; ++m) {
    double others = 0;  // the other terms of the denominator over term m: as computed, and at their extremes
    double fewest = 0;
    double most = 0;
    for (Index j = 0; j < n; ++j) {
      if (j == m) continue;
      others += std::exp(logits(j) - logits(m));
      fewest += std::exp((logits(j) - error(j)) - (logits(m) + error(m)));
      most += std::exp((logits(j) + error(j)) - (logits(m) - error(m)));
    }
    const double weight = 1 / (1 + others);
    weights.center(0, m) = weight;
    weights.radius(0, m) =
        std::max(1 / (1 + fewest) - weight, weight - 1 / (1 + most)) + gamma(8 * n) * weight;
  }
  return weights;
}

// One reader of one key/value group, evaluated at one query token. Keys and tokens are taken relative to the
// query's own: a softmax does not see what all its logits share, and its weights sum to 1. So what equal
// tokens have in common drops out with its errors.
class Reader {
 public:
  Reader(const StoredAttention& module, Index head)
      : config_(module.config),
        group_(module.weights.groups[head / config_.readers_per_group()]),
        group_radius_(module.radius.groups[head / config_.readers_per_group()]),
        reader_(group_.readers[head % config_.readers_per_group()]),
        reader_radius_(group_radius_.readers[head % config_.readers_per_group()]),
        key_size_(group_.key.cwiseAbs()),
        value_size_(group_.value.cwiseAbs()),
        output_size_(reader_.output.cwiseAbs()) {}

  void add_to(Enclosure& output, const Dense& tokens) const {
    const Dense exact = Dense::Zero(tokens.rows(), tokens.cols());
    const Enclosure queries = project(tokens, exact, reader_.query, reader_radius_.query, reader_.query_bias,
                                      reader_radius_.query_bias);
    for (Index n = 0; n < tokens.rows(); ++n) {
      const Index seen = config_.causal ? n + 1 : tokens.rows();
      const Dense apart = tokens.topRows(seen).rowwise() - tokens.row(n);
      const Enclosure weights = softmax(queries.center.row(n), queries.radius.row(n), apart);
      add_row(output, n, tokens.row(n), apart, weights);
    }
  }

 private:
  Enclosure softmax(const RowVector<double>& query, const RowVector<double>& query_radius,
                    const Dense& apart) const {
    const double scale = std::abs(config_.scale);
    const Dense keys = apart * group_.key;
    const Dense key_radius =
        apart.cwiseAbs() * group_radius_.key + gamma(apart.cols() + 1) * (apart.cwiseAbs() * key_size_);
    const RowVector<double> logits = config_.scale * (query * keys.transpose());
    const RowVector<double> radius =
        scale * (query.cwiseAbs() * key_radius.transpose() +
                 query_radius * (keys.cwiseAbs() + key_radius).transpose() +
                 gamma(keys.cols() + 1) * (query.cwiseAbs() * keys.cwiseAbs().transpose()));
    return enclose_softmax(logits, outward(apart.cols() + keys.cols()) * radius);
  }

  // (x V + bv) O, where x is the average of the tokens by the weights.
  void add_row(Enclosure& output, Index n, const RowVector<double>& token, const Dense& apart,
               const Enclosure& weights) const {
    const Index operations = apart.cols() + apart.rows() + group_.value.cols();
    const Dense distance = apart.cwiseAbs();
    const Dense average = token + weights.center * apart;
    const Dense arithmetic = gamma(apart.rows() + 1) * (token.cwiseAbs() + weights.center * distance);
    const Enclosure mixed = project(average, arithmetic, group_.value, group_radius_.value, group_.value_bias,
                                    group_radius_.value_bias);
    // What the weights of the softmax leave open moves the average along the tokens' differences only.
    const Dense moved = (apart * group_.value) * reader_.output;
    const Dense moved_error = gamma(operations) * (distance * value_size_ * output_size_);
    const Dense strayed = weights.radius * distance;
    const Dense strayed_mixed = strayed * value_size_;
    Dense radius = weights.radius * (moved.cwiseAbs() + moved_error);
    radius += (mixed.radius + strayed * group_radius_.value) * output_size_;
    radius += (mixed.center.cwiseAbs() + mixed.radius + strayed_mixed + strayed * group_radius_.value) *
              reader_radius_.output;
    radius += gamma(operations) * (mixed.center.cwiseAbs() * output_size_);
    output.center.row(n) += mixed.center * reader_.output;
    output.radius.row(n) += outward(operations) * radius;
    output.radius.row(n) += gamma(1) * output.center.row(n).cwiseAbs();
  }

  const AttentionConfig& config_;
  const KvGroup<double>& group_;
  const KvGroup<double>& group_radius_;
  const QueryHead<double>& reader_;
  const QueryHead<double>& reader_radius_;
  Dense key_size_;
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
  for (Index head = 0; head < module.config.heads; ++head) Reader(module, head).add_to(output, tokens);
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
