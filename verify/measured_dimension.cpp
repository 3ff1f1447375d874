#include "verify/measured_dimension.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "symmetry/attention_weights.hpp"
#include "symmetry/dual.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/random.hpp"
#include "symmetry/svd.hpp"
#include "verify/attend.hpp"

namespace attnsym {
namespace {

// Relative to the largest singular value. Rounding leaves 1e-15; what the function sees, 1e-6 and more.
constexpr double negligible = 1e-10;

Matrix<double> normal_matrix(Random& random, Index rows, Index cols, double deviation) {
  Matrix<double> result(rows, cols);
  for (Index i = 0; i < result.size(); ++i) result.data()[i] = deviation * random.normal();
  return result;
}

// Weights for which logits and outputs are of the size of one, whatever the scale: far from where softmax is
// linear or saturated.
AttentionWeights<double> generic_weights(const AttentionConfig& c, Random& random) {
  const double by_width = 1 / std::sqrt(static_cast<double>(c.model_width));
  const double by_scale = 1 / (std::abs(c.scale) * std::sqrt(static_cast<double>(c.key_width)));
  const auto matrix = [&](Index rows, Index cols, double size) {
    return normal_matrix(random, rows, cols, size);
  };
  const auto bias = [&](bool present, Index width, double size) {
    return RowVector<double>(matrix(1, present ? width : 0, size));
  };
  const auto has = [&](QkGains gains) { return c.qk_norm && c.qk_norm->gains == gains; };
  const Index own_width = has(QkGains::Temperature) ? 1 : c.key_width;
  AttentionWeights<double> weights;
  for (Index j = 0; j < c.groups; ++j) {
    KvGroup<double> group{matrix(c.model_width, c.key_width, by_width),
                          matrix(c.model_width, c.value_width, by_width),
                          bias(c.key_bias, c.key_width, 1),
                          bias(c.value_bias, c.value_width, 1),
                          {},
                          bias(has(QkGains::Own), c.key_width, 1)};
    for (Index i = 0; i < c.readers_per_group(); ++i) {
      group.readers.push_back({matrix(c.model_width, c.key_width, by_width * by_scale),
                               matrix(c.value_width, c.model_width, 1),
                               bias(c.query_bias, c.key_width, by_scale), bias(c.sinks, 1, 1),
                               bias(has(QkGains::Own) || has(QkGains::Temperature), own_width, 1)});
    }
    weights.groups.push_back(std::move(group));
  }
  weights.output_bias = bias(c.output_bias, c.model_width, 1);
  weights.query_gain = bias(has(QkGains::Shared), c.key_width, 1);
  weights.key_gain = bias(has(QkGains::Shared), c.key_width, 1);
  return weights;
}

std::vector<Matrix<Dual>> random_inputs(Random& random, Index count, Index tokens, Index width) {
  std::vector<Matrix<Dual>> inputs;
  for (Index i = 0; i < count; ++i) inputs.emplace_back(normal_matrix(random, tokens, width, 1).cast<Dual>());
  return inputs;
}

// The derivatives of all outputs along the direction that the weights carry.
Eigen::VectorXd derivative(const AttentionConfig& config, const AttentionWeights<Dual>& weights,
                           const std::vector<Matrix<Dual>>& inputs) {
  const Index each = inputs.front().size();
  Eigen::VectorXd result(static_cast<Index>(inputs.size()) * each);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Matrix<Dual> output = attend(config, weights, inputs[i]);
    for (Index k = 0; k < each; ++k) result(static_cast<Index>(i) * each + k) = output.data()[k].slope;
  }
  return result;
}

Matrix<double> jacobian(const AttentionConfig& config, AttentionWeights<Dual> weights,
                        const std::vector<Matrix<Dual>>& inputs) {
  const Index outputs = static_cast<Index>(inputs.size()) * inputs.front().size();
  Matrix<double> result(outputs, config.parameter_count());
  Index column = 0;
  for_each_slot(weights, [&](auto& slot) {
    for (Index i = 0; i < slot.size(); ++i) {
      slot.data()[i].slope = 1;
      result.col(column++) = derivative(config, weights, inputs);
      slot.data()[i].slope = 0;
    }
  });
  return result;
}

// Columns are brought to one length, which changes no rank; those of parameters without any effect stay.
MeasuredDimension null_space(Matrix<double> derivatives) {
  const RowVector<double> lengths = derivatives.colwise().norm();
  for (Index k = 0; k < derivatives.cols(); ++k) {
    if (lengths(k) > negligible * lengths.maxCoeff()) derivatives.col(k) /= lengths(k);
  }
  const RowVector<double> sigma = singular_values(derivatives);
  const Index rank = (sigma.array() > negligible * sigma(0)).count();
  const Index dimension = derivatives.cols() - rank;
  return {dimension, derivatives.cols(), derivatives.rows(), sigma(rank - 1) / sigma(0),
          dimension > 0 ? sigma(rank) / sigma(0) : 0};
}

void append_rows(Matrix<double>& m, const Matrix<double>& rows) {
  const Index old_rows = m.rows();
  m.conservativeResize(old_rows + rows.rows(), rows.cols());
  m.bottomRows(rows.rows()) = rows;
}

}  // namespace

MeasuredDimension measure_dimension(const AttentionConfig& config, const MeasureOptions& options) {
  config.validate();
  const Index parameters = config.parameter_count();
  if (parameters > most_measured_parameters) {
    throw ShapeError("a module of " + std::to_string(parameters) +
                     " parameters is too large to be measured; the limit is " +
                     std::to_string(most_measured_parameters));
  }
  Random random(options.seed);
  const auto weights = cast<Dual>(generic_weights(config, random));
  const Index outputs_each = options.tokens * config.model_width;
  Index count = (parameters + outputs_each - 1) / outputs_each;
  Matrix<double> derivatives;
  MeasuredDimension measured{parameters + 1};
  while (true) {
    const auto inputs = random_inputs(random, count, options.tokens, config.model_width);
    append_rows(derivatives, jacobian(config, weights, inputs));
    const MeasuredDimension next = null_space(derivatives);
    if (next.dimension == measured.dimension) return next;
    measured = next;
    count = derivatives.rows() / outputs_each;
  }
}

}  // namespace attnsym
