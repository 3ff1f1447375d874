#include "verify/stored_precision.hpp"

#include <algorithm>
#include <cmath>

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
ColumnNorms column_norms(const Matrix<double>& value, const Matrix<double>& radius) {
  return {value.colwise().norm(), radius.colwise().norm() / std::sqrt(3.0)};
}

// Of [W; b], the bias being present or not.
ColumnNorms with_bias(ColumnNorms norms, const RowVector<double>& bias, const RowVector<double>& radius) {
  for (Index k = 0; k < bias.size(); ++k) {
    norms.value(k) = std::hypot(norms.value(k), bias(k));
    norms.noise(k) = std::hypot(norms.noise(k), radius(k) / std::sqrt(3.0));
  }
  return norms;
}

// [N7] sqrt of V = sum_k s2_k(L) |R_k|^2 + |L_k|^2 s2_k(R).
double circuit_noise(const ColumnNorms& left, const ColumnNorms& right) {
  return std::hypot(safe_norm(left.noise.cwiseProduct(right.value)),
                    safe_norm(left.value.cwiseProduct(right.noise)));
}

// Of the matrices alone: a bias of tiny numbers says nothing about them.
double matrix_unit(const StoredAttention& module) {
  double unit = 0;
  const auto add = [&](const Matrix<double>& value, const Matrix<double>& radius) {
    const double norm = safe_norm(value);
    if (norm > 0) unit = std::max(unit, safe_norm(radius) / norm);
  };
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    const KvGroup<double>& group = module.weights.groups[j];
    const KvGroup<double>& radius = module.radius.groups[j];
    add(group.key, radius.key);
    add(group.value, radius.value);
    for (std::size_t i = 0; i < group.readers.size(); ++i) {
      add(group.readers[i].query, radius.readers[i].query);
      add(group.readers[i].output, radius.readers[i].output);
    }
  }
  return unit;
}

}  // namespace

HeadPrecision<double> stored_precision(const StoredAttention& module) {
  const double unit = matrix_unit(module);
  HeadPrecision<double> result;
  result.unit = std::max(unit, tolerance<double>());
  result.slack = arithmetic_allowance(std::max(module.config.key_width, module.config.value_width), unit);
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    const KvGroup<double>& group = module.weights.groups[j];
    const KvGroup<double>& radius = module.radius.groups[j];
    const ColumnNorms key = column_norms(group.key, radius.key);
    ColumnNorms value = column_norms(group.value, radius.value);
    if (carries_value_bias(module.config)) value = with_bias(value, group.value_bias, radius.value_bias);
    for (std::size_t i = 0; i < group.readers.size(); ++i) {
      const QueryHead<double>& reader = group.readers[i];
      const QueryHead<double>& reader_radius = radius.readers[i];
      const ColumnNorms query = with_bias(column_norms(reader.query, reader_radius.query), reader.query_bias,
                                          reader_radius.query_bias);
      result.qk_noise.push_back(circuit_noise(query, key));
      result.vo_noise.push_back(
          circuit_noise(column_norms(reader.output.transpose(), reader_radius.output.transpose()), value));
    }
  }
  const auto same_qk = [](const StoredAttention& seen, Index i, Index j) {
    return compare(stored_scores(seen, i), stored_scores(seen, j)).explained_by_rounding();
  };
  if (module.config.centred_inputs) {
    result.same_qk = [same_qk, seen = as_seen(module)](Index i, Index j) { return same_qk(seen, i, j); };
  } else {
    result.same_qk = [same_qk, &module](Index i, Index j) { return same_qk(module, i, j); };
  }
  return result;
}

}  // namespace attnsym
