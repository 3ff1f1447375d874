#include "verify/constant.hpp"

#include <algorithm>
#include <limits>

#include "symmetry/circuits.hpp"
#include "symmetry/safe_norm.hpp"
#include "verify/comparison.hpp"
#include "verify/storage_error.hpp"

namespace attnsym {
namespace {

// Whether the value biases of a group add to the constant: beside sinks and gates they are judged with the OV
// circuits.
bool adds_constant(const StoredAttention& module, std::size_t group) {
  if (!module.config.value_bias || module.config.value_bias_counts()) return false;
  return !module.weights.groups[group].value_bias.isZero(0) ||
         !module.radius.groups[group].value_bias.isZero(0);
}

// Variance of the constant [N7]: var(bo) + sum_j ( var(bv_j) (sum_i O_i)^2 + bv_j^2 sum_i var(O_i) ), i over
// the readers of j, which share one rounded bv_j.
RowVector<double> constant_variance(const StoredAttention& module) {
  RowVector<double> variance = RowVector<double>::Zero(module.config.model_width);
  if (module.config.output_bias) variance = variance_of(module.radius.output_bias);
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    if (!adds_constant(module, j)) continue;
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
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    if (!adds_constant(module, j)) continue;
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
  RowVector<double> sizes = RowVector<double>::Zero(module.config.model_width);
  if (module.config.output_bias) sizes = module.weights.output_bias.cwiseAbs();
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    if (!adds_constant(module, j)) continue;
    const KvGroup<double>& group = module.weights.groups[j];
    for (const QueryHead<double>& reader : group.readers)
      sizes += group.value_bias.cwiseAbs() * reader.output.cwiseAbs();
  }
  const auto terms = static_cast<double>(module.config.heads * module.config.value_width + 2);
  return std::numeric_limits<double>::epsilon() * terms * sizes.norm();
}

double output_unit(const StoredAttention& module) {
  double unit = stored_unit(safe_norm(module.weights.output_bias), safe_norm(module.radius.output_bias));
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    if (!adds_constant(module, j)) continue;
    for (std::size_t i = 0; i < module.weights.groups[j].readers.size(); ++i) {
      unit = std::max(unit, stored_unit(safe_norm(module.weights.groups[j].readers[i].output),
                                        safe_norm(module.radius.groups[j].readers[i].output)));
    }
  }
  return unit;
}

}  // namespace

ConstantComparison compare_constants(const StoredAttention& a, const StoredAttention& b) {
  const RowVector<double> apart = constant_output(a.config, a.weights) - constant_output(b.config, b.weights);
  const double arithmetic = constant_error(a) + constant_error(b);
  const double variance = constant_variance(a).sum() + constant_variance(b).sum();
  const Index terms = std::max(a.config.heads * a.config.value_width, b.config.heads * b.config.value_width);
  const double limit = ratio_limit(terms, std::max(output_unit(a), output_unit(b)));
  RowVector<double> radius = constant_radius(a) + constant_radius(b);
  // Arithmetic is as wrong as sums are large on the way, and these are as large as the others' results [N7].
  const double share = std::sqrt(std::max(1 - 4 / (limit * limit), 0.0));
  radius.array() += share * radius.norm() / std::sqrt(static_cast<double>(std::max<Index>(radius.size(), 1)));
  Index place = 0;
  return {apart.norm(),
          (apart.norm() + arithmetic) * (1 + tolerance<double>()),
          ratio(apart.norm(), variance),
          limit,
          std::sqrt(variance),
          largest_ratio_of(apart.cwiseAbs(), radius.cwiseAbs2(), place)};
}

}  // namespace attnsym
