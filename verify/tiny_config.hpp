#pragma once

#include "symmetry/attention_config.hpp"

namespace attnsym {

/// The smallest module of the same kind, to be measured in place of a large one: what decides the group is
/// kept, sizes are not.
///
/// Kept are the biases, the mask, softcap, sinks and slopes as such; whether several readers share a group
/// and whether there are several groups (two stand for many); every kind of gauge block, by its first pairs -
/// one complex number, a complex matrix, a pair turned by pi, coordinates that are not turned; two blocks
/// stand for many. Windows become at most 3, softcaps at most 3 and epsilons
/// of norms 0.1, so that five tokens notice them, and tables of relative positions keep offsets up to 4.
/// Value biases can move without an output bias iff they can in the module: g dv > D is kept.
///
/// @returns a config with dk <= D, dv < D: a generic module is in the stratum of N3 whatever the shape
/// @throws ShapeError on an invalid config
AttentionConfig tiny_config_like(const AttentionConfig& config);

}  // namespace attnsym
