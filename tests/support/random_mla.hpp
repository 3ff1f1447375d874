#pragma once

#include "symmetry/mla_weights.hpp"
#include "symmetry/random.hpp"

namespace attnsym::testing {

/// The shapes of the reference figure: D 9, two heads, dn = dR = dv = 2, dc 5, dq 4.
inline MlaConfig small_mla() {
  MlaConfig c{9, 2, 2, 2, 4, 5};
  c.rotary.frequencies = {0.8};
  c.scale = 0.5;
  return c;
}

/// Equal frequencies, interleaved, causal, norms with an epsilon.
inline MlaConfig small_mla_with_two_pairs() {
  MlaConfig c = small_mla();
  c.rotary = {{0.8, 0.8}, PairLayout::Interleaved};
  c.causal = true;
  c.epsilon = 0.1;
  return c;
}

/// Fixed pseudo-random weights: matrices of size one, gains around one.
template <Scalar S>
MlaWeights<S> random_mla(const MlaConfig& c, std::uint64_t seed) {
  const auto matrix = [&](Index rows, Index cols) {
    return fixed_probe<S>(rows, cols, seed = seed * 31 + 7);
  };
  const auto latent = [&](Index width) {
    const RowVector<S> moved = matrix(1, width) / S(2);
    return MlaLatent<S>{matrix(c.model_width, width), RowVector<S>::Ones(width) + moved};
  };
  MlaWeights<S> w{latent(c.query_latent), latent(c.kv_latent), matrix(c.model_width, c.rotary_width()), {}};
  for (Index i = 0; i < c.heads; ++i) {
    w.heads.push_back({matrix(c.query_latent, c.key_width), matrix(c.query_latent, c.rotary_width()),
                       matrix(c.kv_latent, c.key_width), matrix(c.kv_latent, c.value_width),
                       matrix(c.value_width, c.model_width)});
  }
  return w;
}

template <Scalar S>
std::vector<Matrix<S>> slots(const MlaWeights<S>& weights) {
  std::vector<Matrix<S>> result;
  for_each_mla_slot(weights, [&](const auto& slot) { result.emplace_back(slot); });
  return result;
}

}  // namespace attnsym::testing
