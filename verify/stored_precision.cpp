#include "verify/stored_precision.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "symmetry/reduced_form.hpp"
#include "symmetry/safe_norm.hpp"
#include "verify/rounding.hpp"

namespace attnsym {
namespace {

// The norms of the columns of one factor, and of what rounding may have added to them.
struct ColumnNorms {
  RowVector<double> value;
  RowVector<double> noise;
};

// An error spread evenly over +- radius has a variance of a third of its square.
const double deviation = 1 / std::sqrt(3.0);

// The radii of numbers of a format, in units of its relative one.
template <class Numbers>
auto relative_radii(const Numbers& numbers, const Rounding& rounding) {
  return numbers.cwiseAbs().cwiseMax(rounding.absolute / rounding.relative);
}

ColumnNorms column_norms(const Matrix<double>& value, const Matrix<double>& radius) {
  return {value.colwise().norm(), deviation * radius.colwise().norm()};
}

ColumnNorms column_norms(const Matrix<double>& value, const Rounding& rounding) {
  ColumnNorms norms{RowVector<double>(value.cols()), RowVector<double>(value.cols())};
  for (Index k = 0; k < value.cols(); ++k) {
    norms.value(k) = value.col(k).norm();
    norms.noise(k) = deviation * rounding.relative * relative_radii(value.col(k), rounding).norm();
  }
  return norms;
}

ColumnNorms row_norms(const Matrix<double>& value, const Matrix<double>& radius) {
  return {value.rowwise().norm().transpose(), deviation * radius.rowwise().norm().transpose()};
}

// Column by column, as the numbers lie in memory.
ColumnNorms row_norms(const Matrix<double>& value, const Rounding& rounding) {
  Eigen::VectorXd values = Eigen::VectorXd::Zero(value.rows());
  Eigen::VectorXd radii = values;
  for (Index k = 0; k < value.cols(); ++k) {
    values += value.col(k).cwiseAbs2();
    radii += relative_radii(value.col(k), rounding).cwiseAbs2();
  }
  return {values.cwiseSqrt().transpose(), deviation * rounding.relative * radii.cwiseSqrt().transpose()};
}

double radius_of(const RowVector<double>&, const RowVector<double>& radius, Index k) { return radius(k); }

double radius_of(const RowVector<double>& bias, const Rounding& rounding, Index k) {
  return rounding.radius(bias(k));
}

// Of [W; b], the bias being present or not.
template <class Radius>
ColumnNorms with_bias(ColumnNorms norms, const RowVector<double>& bias, const Radius& radius) {
  for (Index k = 0; k < bias.size(); ++k) {
    norms.value(k) = std::hypot(norms.value(k), bias(k));
    norms.noise(k) = std::hypot(norms.noise(k), deviation * radius_of(bias, radius, k));
  }
  return norms;
}

// [N7] sqrt of V = sum_k s2_k(L) |R_k|^2 + |L_k|^2 s2_k(R).
double circuit_noise(const ColumnNorms& left, const ColumnNorms& right) {
  return std::hypot(safe_norm(left.noise.cwiseProduct(right.value)),
                    safe_norm(left.value.cwiseProduct(right.noise)));
}

// Radii of a module that are written out, slot by slot.
struct WrittenRadii {
  const AttentionWeights<double>& radius;

  const Matrix<double>& key(std::size_t j) const { return radius.groups[j].key; }
  const Matrix<double>& value(std::size_t j) const { return radius.groups[j].value; }
  const RowVector<double>& value_bias(std::size_t j) const { return radius.groups[j].value_bias; }
  const QueryHead<double>& reader(std::size_t j, std::size_t i) const { return radius.groups[j].readers[i]; }
};

// The same slots of a module whose formats are known.
struct FormatRadii {
  struct Reader {
    Rounding query;
    Rounding output;
    Rounding query_bias;
  };
  const RoundedAttention& module;

  const Rounding& key(std::size_t) const { return module.key.weight; }
  const Rounding& value(std::size_t) const { return module.value.weight; }
  const Rounding& value_bias(std::size_t) const { return module.value.bias; }
  Reader reader(std::size_t, std::size_t) const {
    return {module.query.weight, module.output.weight, module.query.bias};
  }
};

// All but the comparison of heads.
template <class Radii>
HeadPrecision<double> noise_of(const AttentionConfig& config, const AttentionWeights<double>& weights,
                               const Radii& radii) {
  HeadPrecision<double> result;
  double unit = 0;  // of the matrices alone: a bias of tiny numbers says nothing about them
  const auto noted = [&](ColumnNorms norms) {
    const double norm = safe_norm(norms.value);
    if (norm > 0) unit = std::max(unit, safe_norm(norms.noise) / (deviation * norm));
    return norms;
  };
  for (std::size_t j = 0; j < weights.groups.size(); ++j) {
    const KvGroup<double>& group = weights.groups[j];
    const ColumnNorms key = noted(column_norms(group.key, radii.key(j)));
    ColumnNorms value = noted(column_norms(group.value, radii.value(j)));
    if (carries_value_bias(config)) value = with_bias(value, group.value_bias, radii.value_bias(j));
    for (std::size_t i = 0; i < group.readers.size(); ++i) {
      const QueryHead<double>& reader = group.readers[i];
      const auto& radius = radii.reader(j, i);
      const ColumnNorms query =
          with_bias(noted(column_norms(reader.query, radius.query)), reader.query_bias, radius.query_bias);
      const ColumnNorms output = noted(row_norms(reader.output, radius.output));
      result.qk_noise.push_back(circuit_noise(query, key));
      result.vo_noise.push_back(circuit_noise(output, value));
    }
  }
  result.unit = std::max(unit, tolerance<double>());
  result.slack = arithmetic_allowance(std::max(config.key_width, config.value_width), unit);
  return result;
}

bool same_scores(const StoredAttention& module, Index i, Index j) {
  return compare(stored_scores(module, i), stored_scores(module, j)).explained_by_rounding();
}

}  // namespace

HeadPrecision<double> stored_precision(const StoredAttention& module) {
  HeadPrecision<double> result = noise_of(module.config, module.weights, WrittenRadii{module.radius});
  if (module.config.centred_inputs) {
    result.same_qk = [seen = as_seen(module)](Index i, Index j) { return same_scores(seen, i, j); };
  } else {
    result.same_qk = [&module](Index i, Index j) { return same_scores(module, i, j); };
  }
  return result;
}

HeadPrecision<double> stored_precision(const RoundedAttention& module,
                                       std::function<StoredAttention()> with_radii) {
  HeadPrecision<double> result = noise_of(module.config, module.weights, FormatRadii{module});
  const auto stored = std::make_shared<std::optional<StoredAttention>>();
  result.same_qk = [stored, with_radii = std::move(with_radii)](Index i, Index j) {
    if (!*stored) {
      *stored = with_radii();
      if ((*stored)->config.centred_inputs) *stored = as_seen(**stored);
    }
    return same_scores(**stored, i, j);
  };
  return result;
}

}  // namespace attnsym
