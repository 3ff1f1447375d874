#include "verify/rounding.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace attnsym {
namespace {

using Eigen::ArrayXXd;

Circuit<double> scaled_left(Circuit<double> circuit, double factor) {
  circuit.left *= factor;
  return circuit;
}

// [N7] variance of row p of the circuit: sum_k var(L_pk) |R_k|^2 + L_pk^2 |sigma_R,k|^2.
RowVector<double> row_variances(const Matrix<double>& left, const Matrix<double>& left_variance,
                                const Matrix<double>& right, const Matrix<double>& right_variance) {
  const RowVector<double> right_squares = right.colwise().squaredNorm();
  const RowVector<double> right_noise = right_variance.colwise().sum();
  return (left_variance * right_squares.transpose() + left.cwiseAbs2() * right_noise.transpose()).transpose();
}

RowVector<double> row_variances(const StoredCircuit& c) {
  return row_variances(c.value.left, c.variance.left, c.value.right, c.variance.right);
}

RowVector<double> column_variances(const StoredCircuit& c) {
  return row_variances(c.value.right, c.variance.right, c.value.left, c.variance.left);
}

double ratio(double difference, double variance) {
  if (difference == 0) return 0;
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

double unit_of(const StoredCircuit& c) {
  return std::max(effective_unit(c.value.left, c.variance.left),
                  effective_unit(c.value.right, c.variance.right));
}

// Variance of the constant [N7]: var(bo) + sum_j ( var(bv_j) (sum_i O_i)^2 + bv_j^2 sum_i var(O_i) ), i over
// the readers of j, which share one rounded bv_j.
RowVector<double> constant_variance(const StoredAttention& module) {
  RowVector<double> variance = RowVector<double>::Zero(module.config.model_width);
  if (module.config.output_bias) variance = module.variance.output_bias;
  if (!module.config.value_bias) return variance;
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    const KvGroup<double>& group = module.weights.groups[j];
    const KvGroup<double>& noise = module.variance.groups[j];
    Matrix<double> outputs = Matrix<double>::Zero(module.config.value_width, module.config.model_width);
    for (std::size_t i = 0; i < group.readers.size(); ++i) {
      outputs += group.readers[i].output;
      variance += group.value_bias.cwiseAbs2() * noise.readers[i].output;
    }
    variance += noise.value_bias * outputs.cwiseAbs2();
  }
  return variance;
}

double output_unit(const StoredAttention& module) {
  double unit = effective_unit(module.weights.output_bias, module.variance.output_bias);
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    for (std::size_t i = 0; i < module.weights.groups[j].readers.size(); ++i) {
      unit = std::max(unit, effective_unit(module.weights.groups[j].readers[i].output,
                                           module.variance.groups[j].readers[i].output));
    }
  }
  return unit;
}

template <class V>
void fill_with_zeros(V& bias, Index size) {
  if (bias.size() == 0) bias = V::Zero(size);
}

void fill_biases(AttentionWeights<double>& weights, const AttentionConfig& config) {
  for (KvGroup<double>& group : weights.groups) {
    fill_with_zeros(group.key_bias, config.key_width);
    fill_with_zeros(group.value_bias, config.value_width);
    for (QueryHead<double>& reader : group.readers) fill_with_zeros(reader.query_bias, config.key_width);
  }
  fill_with_zeros(weights.output_bias, config.model_width);
}

}  // namespace

StoredCircuit stored_qk_circuit(const StoredAttention& module, Index head) {
  // The variance carries no scale of its own: s^2 belongs to the squared entries.
  AttentionConfig unscaled = module.config;
  unscaled.scale = 1;
  return {
      qk_circuit(module.config, module.weights, head),
      scaled_left(qk_circuit(unscaled, module.variance, head), module.config.scale * module.config.scale)};
}

StoredCircuit stored_vo_circuit(const StoredAttention& module, Index head) {
  return {vo_circuit(module.config, module.weights, head), vo_circuit(module.config, module.variance, head)};
}

double CircuitComparison::largest_ratio() const {
  // Not std::max alone: NaN has to win.
  if (std::isnan(ratio) || std::isnan(largest_row_ratio) || std::isnan(largest_column_ratio)) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  return std::max({ratio, largest_row_ratio, largest_column_ratio});
}

CircuitComparison compare(const StoredCircuit& a, const StoredCircuit& b) {
  const DifferenceNorms<double> apart = difference_norms(a.value, b.value);
  const RowVector<double> rows = row_variances(a) + row_variances(b);
  const RowVector<double> columns = column_variances(a) + column_variances(b);
  CircuitComparison result;
  result.difference = apart.total;
  result.norm = std::max(apart.norm_a, apart.norm_b);
  result.ratio = ratio(apart.total, rows.sum());
  result.largest_row_ratio = largest_ratio_of(apart.rows, rows, result.largest_row);
  result.largest_column_ratio = largest_ratio_of(apart.columns, columns, result.largest_column);
  result.resolution = result.norm > 0 ? std::sqrt(rows.sum()) / result.norm : 0;
  result.limit =
      ratio_limit(std::max(a.value.left.cols(), b.value.left.cols()), std::max(unit_of(a), unit_of(b)));
  return result;
}

double ratio_limit(Index inner_width, double unit) { return 2 * arithmetic_allowance(inner_width, unit); }

double arithmetic_allowance(Index inner_width, double unit) {
  if (!(unit > 0)) return 1;
  const double arithmetic = 8 * std::min(unit, 0x1p-24) / unit;
  return std::sqrt(1 + static_cast<double>(inner_width) * arithmetic * arithmetic);
}

double effective_unit(const Matrix<double>& value, const Matrix<double>& variance) {
  const double size = value.squaredNorm();
  return size > 0 ? std::sqrt(3 * variance.sum() / size) : 0;
}

double relative_noise(const StoredCircuit& circuit) {
  const double size = norm(circuit.value);
  return size > 0 ? rounding_noise(circuit) / size : 0;
}

double rounding_noise(const StoredCircuit& circuit) { return std::sqrt(row_variances(circuit).sum()); }

double storage_unit(const StoredAttention& module) {
  std::vector<double> noise;
  for_each_slot(module.variance, [&](const auto& slot) { noise.push_back(slot.sum()); });
  double unit = 0;
  std::size_t next = 0;
  for_each_slot(module.weights, [&](const auto& slot) {
    const double size = slot.squaredNorm();
    const double sum = noise[next++];
    if (size > 0) unit = std::max(unit, std::sqrt(3 * sum / size));
  });
  return unit;
}

ConstantComparison compare_constants(const StoredAttention& a, const StoredAttention& b) {
  const RowVector<double> apart = constant_output(a.config, a.weights) - constant_output(b.config, b.weights);
  const double variance = constant_variance(a).sum() + constant_variance(b).sum();
  const Index terms = std::max(a.config.heads * a.config.value_width, b.config.heads * b.config.value_width);
  return {apart.norm(), ratio(apart.norm(), variance),
          ratio_limit(terms, std::max(output_unit(a), output_unit(b))), std::sqrt(variance)};
}

AttentionWeights<double> perturbed(const StoredAttention& module, double allowance, Random& random) {
  AttentionWeights<double> result = module.weights;
  std::vector<const double*> variances;
  for_each_slot(module.variance, [&](const auto& slot) { variances.push_back(slot.data()); });
  std::size_t next = 0;
  for_each_slot(result, [&](auto& slot) {
    const double* variance = variances[next++];
    for (Index i = 0; i < slot.size(); ++i)
      slot.data()[i] += allowance * std::sqrt(3 * variance[i]) * random.uniform();
  });
  return result;
}

StoredAttention with_all_biases(StoredAttention module) {
  fill_biases(module.weights, module.config);
  fill_biases(module.variance, module.config);
  module.config.query_bias = module.config.key_bias = module.config.value_bias = module.config.output_bias =
      true;
  return module;
}

}  // namespace attnsym
