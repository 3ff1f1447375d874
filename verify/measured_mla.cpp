#include "verify/measured_mla.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "symmetry/errors.hpp"
#include "symmetry/random.hpp"
#include "verify/measured_dimension.hpp"
#include "verify/mla_attend.hpp"

namespace attnsym {

namespace {

constexpr Index measured_tokens = 5;

}  // namespace

MeasuredDimension measure_dimension(const MlaConfig& config, std::uint64_t seed) {
  config.validate();
  if (config.parameter_count() > most_measured_parameters)
    throw ShapeError("a module of " + std::to_string(config.parameter_count()) +
                     " parameters is too large to be measured; the limit is " +
                     std::to_string(most_measured_parameters));
  Random random(seed);
  const auto normal = [&](Index rows, Index cols, double size) {
    Matrix<double> m(rows, cols);
    for (Index i = 0; i < m.size(); ++i) m.data()[i] = size * random.normal();
    return m;
  };
  const auto weight = [&](Index rows, Index cols) {
    return Matrix<Dual>(normal(rows, cols, 1 / std::sqrt(static_cast<double>(rows))).template cast<Dual>());
  };
  const auto latent = [&](Index width) {
    return MlaLatent<Dual>{weight(config.model_width, width),
                           RowVector<Dual>(normal(1, width, 1).template cast<Dual>())};
  };
  MlaWeights<Dual> weights{latent(config.query_latent),
                           latent(config.kv_latent),
                           weight(config.model_width, config.rotary_width()),
                           {}};
  for (Index i = 0; i < config.heads; ++i) {
    weights.heads.push_back(
        {weight(config.query_latent, config.key_width), weight(config.query_latent, config.rotary_width()),
         weight(config.kv_latent, config.key_width), weight(config.kv_latent, config.value_width),
         weight(config.value_width, config.model_width)});
  }
  std::vector<Dual*> numbers;
  for_each_mla_slot(weights, [&](auto& slot) {
    for (Index i = 0; i < slot.size(); ++i) numbers.push_back(slot.data() + i);
  });
  return measure_null_space(
      numbers, [&](const Matrix<Dual>& tokens) { return attend(config, weights, tokens); },
      [&] { return normal(measured_tokens, config.model_width, 1); });
}

}  // namespace attnsym
