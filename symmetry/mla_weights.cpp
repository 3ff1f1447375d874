#include "symmetry/mla_weights.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "symmetry/dual.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

template <class M>
void require_shape(const std::string& name, const M& m, Index rows, Index cols) {
  if (m.rows() == rows && m.cols() == cols) return;
  throw ShapeError(name + " is " + std::to_string(m.rows()) + " x " + std::to_string(m.cols()) +
                   ", expected " + std::to_string(rows) + " x " + std::to_string(cols));
}

template <class S>
void require_latent(const std::string& name, const MlaLatent<S>& latent, Index model_width, Index width) {
  require_shape(name + " latent", latent.down, model_width, width);
  require_shape(name + " latent gain", latent.gain, 1, width);
}

}  // namespace

Index MlaConfig::parameter_count() const {
  const Index latents = (model_width + 1) * (query_latent + kv_latent);
  const Index per_head = query_latent * (key_width + rotary_width()) + kv_latent * (key_width + value_width) +
                         value_width * model_width;
  return latents + model_width * rotary_width() + heads * per_head;
}

void MlaConfig::validate() const {
  for (const Index size :
       {model_width, heads, key_width, value_width, query_latent, kv_latent, rotary.pairs()}) {
    if (size <= 0) throw ShapeError("latent attention: every width and count must be positive");
  }
  const bool finite = std::all_of(rotary.frequencies.begin(), rotary.frequencies.end(),
                                  [](double frequency) { return std::isfinite(frequency); });
  if (!finite || rotary.gain != 1)
    throw ShapeError("latent attention: rotary frequencies must be finite, and their gain 1");
  if (!std::isfinite(scale) || scale == 0 || !std::isfinite(epsilon) || epsilon < 0)
    throw ShapeError("latent attention: the scale must be finite and not zero, epsilon not negative");
}

template <Scalar S>
void require_fits(const MlaWeights<S>& weights, const MlaConfig& config) {
  config.validate();
  require_latent("query", weights.query, config.model_width, config.query_latent);
  require_latent("key and value", weights.kv, config.model_width, config.kv_latent);
  require_shape("rotary key", weights.rotary_key, config.model_width, config.rotary_width());
  if (static_cast<Index>(weights.heads.size()) != config.heads)
    throw ShapeError(std::to_string(weights.heads.size()) + " heads, expected " +
                     std::to_string(config.heads));
  for (std::size_t i = 0; i < weights.heads.size(); ++i) {
    const MlaHead<S>& head = weights.heads[i];
    const std::string where = "head " + std::to_string(i) + " ";
    require_shape(where + "query", head.query, config.query_latent, config.key_width);
    require_shape(where + "rotary query", head.rotary_query, config.query_latent, config.rotary_width());
    require_shape(where + "key", head.key, config.kv_latent, config.key_width);
    require_shape(where + "value", head.value, config.kv_latent, config.value_width);
    require_shape(where + "output", head.output, config.value_width, config.model_width);
  }
}

template void require_fits(const MlaWeights<float>&, const MlaConfig&);
template void require_fits(const MlaWeights<double>&, const MlaConfig&);
template void require_fits(const MlaWeights<Float50>&, const MlaConfig&);
template void require_fits(const MlaWeights<Rational>&, const MlaConfig&);
template void require_fits(const MlaWeights<Dual>&, const MlaConfig&);

}  // namespace attnsym
