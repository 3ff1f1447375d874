#pragma once

#include "symmetry/random.hpp"
#include "symmetry/stored_attention.hpp"

namespace attnsym::bench {

/// A storage format with unlimited exponents.
struct Format {
  const char* name;
  double unit;  ///< unit roundoff
};
inline constexpr Format f32{"F32", 0x1p-24};
inline constexpr Format f16{"F16", 0x1p-11};
inline constexpr Format bf16{"BF16", 0x1p-8};

/// The module as a file of this format would hold it.
StoredAttention stored(const AttentionConfig& config, AttentionWeights<double> weights, const Format& format);

/// Weights with heavy tails, as trained ones have: a normal number times the exponential of another, of which
/// `spread` is the standard deviation.
AttentionWeights<double> heavy_tailed(const AttentionConfig& config, double spread, Random& random);

}  // namespace attnsym::bench
