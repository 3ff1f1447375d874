#include "verify/rounding.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

#include "symmetry/safe_norm.hpp"

namespace attnsym {
namespace {

// The variance of an error spread evenly over +- radius.
Matrix<double> variance_of(const Matrix<double>& radius) { return radius.cwiseAbs2() / 3; }

// [N7] variance of row p of the circuit: sum_k var(L_pk) |R_k|^2 + L_pk^2 |sigma_R,k|^2.
RowVector<double> row_variances(const Matrix<double>& left, const Matrix<double>& left_radius,
                                const Matrix<double>& right, const Matrix<double>& right_radius) {
  const RowVector<double> right_squares = right.colwise().squaredNorm();
  const RowVector<double> right_noise = right_radius.colwise().squaredNorm() / 3;
  return (variance_of(left_radius) * right_squares.transpose() + left.cwiseAbs2() * right_noise.transpose())
      .transpose();
}

RowVector<double> row_variances(const StoredCircuit& c) {
  return row_variances(c.value.left, c.radius.left, c.value.right, c.radius.right);
}

RowVector<double> column_variances(const StoredCircuit& c) {
  return row_variances(c.value.right, c.radius.right, c.value.left, c.radius.left);
}

double ratio(double difference, double variance) {
  if (difference == 0) return 0;
  if (!std::isfinite(variance))
    return std::numeric_limits<double>::quiet_NaN();  // an overflow explains nothing
  return variance > 0 ? difference / std::sqrt(variance) : std::numeric_limits<double>::infinity();
}

// The largest ratio and its place.
double largest_ratio_of(const RowVector<double>& differences, const RowVector<double>& variances,
                        Index& place) {
  double largest = 0;
  for (Index i = 0; i < differences.size(); ++i) {
    const double r = ratio(differences(i), variances(i));
    if (r <= largest || std::isnan(largest)) continue;  // NaN stays
    largest = r;
    place = i;
  }
  return largest;
}

// [N4] What computing the norm of a difference may have got wrong: 2 gamma (|L| |R| + |L'| |R'|), with gamma
// for the dot products and the QR of these sizes.
double computing_error(const StoredCircuit& a, const StoredCircuit& b) {
  constexpr double eps = std::numeric_limits<double>::epsilon();
  const Index inner = a.value.left.cols() + b.value.left.cols();
  const double gamma = eps * static_cast<double>(10 * inner * (a.value.left.rows() + a.value.right.rows()));
  return 2 * gamma *
         (a.value.left.norm() * a.value.right.norm() + b.value.left.norm() * b.value.right.norm());
}

// Squares of differences, entry by entry, beside their variances.
struct Squares {
  RowVector<double> differences;
  RowVector<double> variances;

  void add(const RowVector<double>& squares, const RowVector<double>& variance) {
    if (differences.size() == 0) differences = variances = RowVector<double>::Zero(squares.size());
    differences += squares;
    variances += variance;
  }

  bool within(double limit) const {
    const double largest = limit * limit;
    return differences.allFinite() && (differences.array() <= largest * variances.array()).all() &&
           differences.sum() <= largest * variances.sum();
  }
};

// Squared row norms of left right^T.
RowVector<double> product_squares(const Matrix<double>& left, const Matrix<double>& right) {
  return (left * (right.transpose() * right)).cwiseProduct(left).rowwise().sum().transpose();
}

// Adds up the comparisons of terms, all in units of 2^exponent.
class Comparison {
 public:
  explicit Comparison(int exponent) : exponent_(exponent) {}

  void add(const Harmonic& harmonic, const StoredCircuit& a, const StoredCircuit& b) {
    const StoredCircuit x = at_exponent(a, exponent_);
    const StoredCircuit y = at_exponent(b, exponent_);
    const DifferenceNorms<double> apart = difference_norms(x.value, y.value);
    const RowVector<double> variances = row_variances(x) + row_variances(y);
    rows_.add(apart.rows.cwiseAbs2(), variances);
    note_term(ratio(apart.total, variances.sum()));
    columns_.add(apart.columns.cwiseAbs2(), column_variances(x) + column_variances(y));
    norm_a_ = std::hypot(norm_a_, apart.norm_a);
    norm_b_ = std::hypot(norm_b_, apart.norm_b);
    const double error = computing_error(x, y);
    error_ += error;
    // |cos A + sin B| <= sqrt(|A|^2 + |B|^2) at every distance; frequencies add up.
    const double at_most = apart.total + error;
    if (harmonic.sine) {
      last_frequency_ = std::hypot(last_frequency_, at_most);
    } else {
      earlier_frequencies_ += last_frequency_;
      last_frequency_ = at_most;
    }
  }

  CircuitComparison result(Index inner_width, double unit) const {
    const double total = std::sqrt(rows_.differences.sum());
    const double variance = rows_.variances.sum();
    const double norm = std::max(norm_a_, norm_b_);
    CircuitComparison result;
    result.difference = std::ldexp(total, exponent_);
    result.difference_at_most =
        std::ldexp((earlier_frequencies_ + last_frequency_) * (1 + tolerance<double>()), exponent_);
    result.norm = std::ldexp(norm, exponent_);
    result.norm_at_most = std::ldexp(norm + error_, exponent_);
    result.ratio = ratio(total, variance);
    result.largest_term_ratio = largest_term_ratio_;
    result.largest_row_ratio =
        largest_ratio_of(rows_.differences.cwiseSqrt(), rows_.variances, result.largest_row);
    result.largest_column_ratio =
        largest_ratio_of(columns_.differences.cwiseSqrt(), columns_.variances, result.largest_column);
    result.noise = std::ldexp(std::sqrt(variance), exponent_);
    result.resolution = norm > 0 ? std::sqrt(variance) / norm : 0;
    result.limit = ratio_limit(inner_width, unit);
    return result;
  }

 private:
  void note_term(double ratio) {
    if (ratio > largest_term_ratio_ || std::isnan(ratio)) largest_term_ratio_ = ratio;  // NaN stays
  }

  int exponent_;
  double largest_term_ratio_ = 0;
  Squares rows_;
  Squares columns_;
  double norm_a_ = 0;
  double norm_b_ = 0;
  double error_ = 0;
  double earlier_frequencies_ = 0;
  double last_frequency_ = 0;
};

double slot_unit(double value_norm, double radius_norm) {
  return value_norm > 0 ? radius_norm / value_norm : 0;
}

// Variance of the constant [N7]: var(bo) + sum_j ( var(bv_j) (sum_i O_i)^2 + bv_j^2 sum_i var(O_i) ), i over
// the readers of j, which share one rounded bv_j.
RowVector<double> constant_variance(const StoredAttention& module) {
  RowVector<double> variance = RowVector<double>::Zero(module.config.model_width);
  if (module.config.output_bias) variance = variance_of(module.radius.output_bias);
  if (!module.config.value_bias || module.config.sinks) return variance;
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    const KvGroup<double>& group = module.weights.groups[j];
    const KvGroup<double>& radius = module.radius.groups[j];
    Matrix<double> outputs = Matrix<double>::Zero(module.config.value_width, module.config.model_width);
    for (std::size_t i = 0; i < group.readers.size(); ++i) {
      outputs += group.readers[i].output;
      variance += variance_of(group.value_bias.asDiagonal() * radius.readers[i].output).colwise().sum();
    }
    variance += variance_of(radius.value_bias.asDiagonal() * outputs).colwise().sum();
  }
  return variance;
}

// The largest error of every entry of the constant that rounding can have left.
RowVector<double> constant_radius(const StoredAttention& module) {
  RowVector<double> radius = RowVector<double>::Zero(module.config.model_width);
  if (module.config.output_bias) radius = module.radius.output_bias;
  if (!module.config.value_bias || module.config.sinks) return radius;
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    const RowVector<double>& bias = module.weights.groups[j].value_bias;
    const RowVector<double>& bias_radius = module.radius.groups[j].value_bias;
    Matrix<double> outputs = Matrix<double>::Zero(module.config.value_width, module.config.model_width);
    for (std::size_t i = 0; i < module.weights.groups[j].readers.size(); ++i) {
      outputs += module.weights.groups[j].readers[i].output;
      radius += (bias.cwiseAbs() + bias_radius) * module.radius.groups[j].readers[i].output;
    }
    radius += bias_radius * outputs.cwiseAbs();
  }
  return radius;
}

// What summing the constant in double may have got wrong: gamma times the sum of absolute values.
double constant_error(const StoredAttention& module) {
  AttentionWeights<double> sizes = module.weights;
  for_each_slot(sizes, [](auto& slot) { slot = slot.cwiseAbs(); });
  const auto terms = static_cast<double>(module.config.heads * module.config.value_width + 2);
  return std::numeric_limits<double>::epsilon() * terms * constant_output(module.config, sizes).norm();
}

double output_unit(const StoredAttention& module) {
  double unit = slot_unit(safe_norm(module.weights.output_bias), safe_norm(module.radius.output_bias));
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    for (std::size_t i = 0; i < module.weights.groups[j].readers.size(); ++i) {
      unit = std::max(unit, slot_unit(safe_norm(module.weights.groups[j].readers[i].output),
                                      safe_norm(module.radius.groups[j].readers[i].output)));
    }
  }
  return unit;
}

// The ALiBi slope and the sink of a head, whose differences are seen by all tokens alike.
void note_offsets(CircuitComparison& result, const StoredScores& a, const StoredScores& b) {
  const RowVector<double> variance = variance_of(a.offset_radius) + variance_of(b.offset_radius);
  Index place = 0;
  const RowVector<double> apart = (a.offsets - b.offsets).cwiseAbs();
  const double largest = largest_ratio_of(apart, variance, place);
  result.offset_difference = apart.maxCoeff();
  if (!(largest > result.largest_row_ratio)) return;
  result.largest_row_ratio = largest;
  result.largest_row = -1;
}

}  // namespace

double CircuitComparison::largest_ratio() const {
  // Not std::max alone: NaN has to win.
  const std::initializer_list<double> ratios{ratio, largest_term_ratio, largest_row_ratio,
                                             largest_column_ratio};
  if (std::any_of(ratios.begin(), ratios.end(), [](double r) { return std::isnan(r); }))
    return std::numeric_limits<double>::quiet_NaN();
  return std::max(ratios);
}

CircuitComparison compare(const StoredCircuit& a, const StoredCircuit& b) {
  const int exponent = std::max(a.exponent, b.exponent);
  Comparison sums(exponent);
  sums.add({}, a, b);
  return sums.result(std::max(a.value.left.cols(), b.value.left.cols()),
                     std::max(effective_unit(a), effective_unit(b)));
}

CircuitComparison compare(const StoredScores& a, const StoredScores& b) {
  const std::vector<TermPair> pairs = paired_terms(a, b);
  int exponent = pairs.front().a.exponent;
  for (const TermPair& pair : pairs) exponent = std::max({exponent, pair.a.exponent, pair.b.exponent});
  Comparison sums(exponent);
  for (const TermPair& pair : pairs) sums.add(pair.harmonic, pair.a, pair.b);
  CircuitComparison result =
      sums.result(std::max(a.inner_width(), b.inner_width()), std::max(effective_unit(a), effective_unit(b)));
  note_offsets(result, a, b);
  return result;
}

bool explained_by_rounding(const std::vector<StoredDifference>& differences, double limit) {
  int exponent = differences.front().a.exponent;
  for (const StoredDifference& one : differences)
    exponent = std::max({exponent, one.a.exponent, one.b.exponent});
  const double factor = std::ldexp(1.0, -exponent);
  Squares rows;
  Squares columns;
  for (const StoredDifference& one : differences) {
    const StoredCircuit x = at_exponent(one.a, exponent);
    const StoredCircuit y = at_exponent(one.b, exponent);
    const Matrix<double> left = factor * one.difference.left;
    const RowVector<double> squares = product_squares(left, one.difference.right);
    const RowVector<double> variances = row_variances(x) + row_variances(y);
    if (!(squares.sum() <= limit * limit * variances.sum())) return false;
    rows.add(squares, variances);
    columns.add(product_squares(one.difference.right, left), column_variances(x) + column_variances(y));
  }
  return rows.within(limit) && columns.within(limit);
}

double ratio_limit(Index inner_width, double unit) { return 2 * arithmetic_allowance(inner_width, unit); }

double arithmetic_allowance(Index inner_width, double unit) {
  if (!(unit > 0)) return 1;
  const double arithmetic = 8 * std::min(unit, 0x1p-24) / unit;
  return std::sqrt(1 + static_cast<double>(inner_width) * arithmetic * arithmetic);
}

double effective_unit(const StoredCircuit& c) {
  return std::max(slot_unit(c.value.left.norm(), c.radius.left.norm()),
                  slot_unit(c.value.right.norm(), c.radius.right.norm()));
}

double effective_unit(const StoredScores& scores) {
  double unit = 0;
  for (const StoredTerm& term : scores.terms) unit = std::max(unit, effective_unit(term.circuit));
  return unit;
}

double rounding_noise(const StoredCircuit& circuit) {
  return std::ldexp(std::sqrt(row_variances(circuit).sum()), circuit.exponent);
}

double storage_unit(const StoredAttention& module) {
  std::vector<double> radii;
  for_each_slot(module.radius, [&](const auto& slot) { radii.push_back(safe_norm(slot)); });
  double unit = 0;
  std::size_t next = 0;
  for_each_slot(module.weights,
                [&](const auto& slot) { unit = std::max(unit, slot_unit(safe_norm(slot), radii[next++])); });
  return unit;
}

ConstantComparison compare_constants(const StoredAttention& a, const StoredAttention& b) {
  const RowVector<double> apart = constant_output(a.config, a.weights) - constant_output(b.config, b.weights);
  const double arithmetic = constant_error(a) + constant_error(b);
  const double variance = constant_variance(a).sum() + constant_variance(b).sum();
  const Index terms = std::max(a.config.heads * a.config.value_width, b.config.heads * b.config.value_width);
  const RowVector<double> radius = constant_radius(a) + constant_radius(b);
  Index place = 0;
  return {apart.norm(),
          (apart.norm() + arithmetic) * (1 + tolerance<double>()),
          ratio(apart.norm(), variance),
          ratio_limit(terms, std::max(output_unit(a), output_unit(b))),
          std::sqrt(variance),
          largest_ratio_of(apart.cwiseAbs(), radius.cwiseAbs2(), place)};
}

}  // namespace attnsym
