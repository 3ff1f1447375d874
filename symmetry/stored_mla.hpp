#pragma once

#include "symmetry/mla_weights.hpp"

namespace attnsym {

/// A module of latent attention as somebody stored it, see StoredAttention.
struct StoredMla {
  MlaConfig config;
  MlaWeights<double> weights;
  MlaWeights<double> radius;
};

}  // namespace attnsym
