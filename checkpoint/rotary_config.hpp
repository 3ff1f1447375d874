#pragma once

#include "checkpoint/layout.hpp"

namespace attnsym {

/// The frequencies base^(-2p / width) for the turned share of head_dim, scaled as the configuration's
/// rope_parameters (or rope_scaling, which wins) say: default, linear, dynamic, llama3, yarn, longrope. With
/// dynamic and longrope, sequences longer than what the model was trained on have others.
/// @param base  the key of the base: positions.base, or positions.local_base
/// @param section  of rope_parameters, where those differ by layer type
/// @param scaled  whether a top-level rope_scaling is for these layers
/// @throws FormatError for what is missing or unknown
Rotary rotary_positions(const JsonObject& config, const PositionKeys& positions, const ConfigValue& base,
                        Index head_dim, std::string_view section, bool scaled);

/// ALiBi slopes [heads] as Bloom and Falcon compute them: powers of 2^(-8/P), P the largest power of two up
/// to heads, then odd powers of 2^(-4/P).
std::vector<double> alibi_slopes(Index heads);

/// The value of the first key that is there, or the fixed one.
std::optional<double> number_of(const JsonObject& config, const ConfigValue& value);

}  // namespace attnsym
