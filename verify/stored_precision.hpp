#pragma once

#include "symmetry/head_precision.hpp"
#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// What canonicalize has to know of a stored module: its rounding noise by N7, and QK circuits compared as
/// `check` compares them. Refers to the module, which has to outlive it.
HeadPrecision<double> stored_precision(const StoredAttention& module);

}  // namespace attnsym
