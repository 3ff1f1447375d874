#pragma once

#include <vector>

#include "symmetry/attention_config.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// A basis of the dk x dk matrices T that commute with every QK gauge of modules of this config, and with
/// their transposes: for every gauge block the identity on it, and on a complex block also the multiplication
/// by i [N5]. So Q T and K T move as Q and K do, and Q T K^T are all invariants that are bilinear in Q and K.
/// Entries are 0, 1 and -1.
/// @throws ShapeError on an invalid config, and on norms of queries and keys, whose gauges are others.
template <Scalar S>
std::vector<Matrix<S>> gauge_commutant(const AttentionConfig& config);

}  // namespace attnsym
