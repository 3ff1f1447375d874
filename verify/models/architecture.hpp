#pragma once

#include <string>

#include "symmetry/transformer_config.hpp"

namespace attnsym {

/// Why no transport of the stream can carry one model to the other, whatever the weights; empty if one may.
std::string different_architecture(const TransformerConfig& a, const TransformerConfig& b);

}  // namespace attnsym
