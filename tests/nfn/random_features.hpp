#pragma once

#include "nfn/weight_features.hpp"
#include "symmetry/random.hpp"

namespace attnsym::testing {

/// Fixed pseudo-random features: multiples of 1/8 in [-1, 1], so that rationals stay small.
template <Scalar S>
WeightFeatures<S> random_features(const BlockShape& shape, Index channels, Index batch, std::uint64_t seed) {
  Random random(seed);
  auto features = WeightFeatures<S>::zero(shape, channels, batch);
  for_each_tensor(features, [&](const char*, Matrix<S>& tensor) {
    for (Index i = 0; i < tensor.size(); ++i)
      tensor.data()[i] = S(static_cast<int>(random.below(17)) - 8) / S(8);
  });
  return features;
}

/// Gives every parameter of a layer a fixed pseudo-random value of the same kind.
template <Scalar S, class Layer>
void randomize(Layer& layer, std::uint64_t seed) {
  Random random(seed);
  for (const auto& view : layer.parameters()) {
    for (Index i = 0; i < view.size(); ++i) view(i) = S(static_cast<int>(random.below(17)) - 8) / S(8);
  }
}

}  // namespace attnsym::testing
