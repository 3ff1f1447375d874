#include "verify/measured_dimension.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "symmetry/attention_weights.hpp"
#include "symmetry/centred.hpp"
#include "symmetry/dual.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/random.hpp"
#include "verify/attend.hpp"
#include "verify/generic_weights.hpp"

namespace attnsym {
namespace {

Matrix<double> normal_matrix(Random& random, Index rows, Index cols, double deviation) {
  Matrix<double> result(rows, cols);
  for (Index i = 0; i < result.size(); ++i) result.data()[i] = deviation * random.normal();
  return result;
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
  auto weights = cast<Dual>(generic_weights(config, random));
  std::vector<Dual*> numbers;
  for_each_slot(weights, [&](auto& slot) {
    for (Index i = 0; i < slot.size(); ++i) numbers.push_back(slot.data() + i);
  });
  const auto draw_input = [&] {
    Matrix<double> input = normal_matrix(random, options.tokens, config.model_width, 1);
    if (config.centred_inputs) input = centred_tokens(std::move(input));
    if (options.on_sphere)
      input = input.rowwise().normalized() * std::sqrt(static_cast<double>(input.cols()));
    return input;
  };
  return measure_null_space(
      numbers, [&](const Matrix<Dual>& tokens) { return attend(config, weights, tokens); }, draw_input);
}

}  // namespace attnsym
