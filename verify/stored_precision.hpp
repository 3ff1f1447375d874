#pragma once

#include <functional>

#include "symmetry/head_precision.hpp"
#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// What canonicalize has to know of a stored module: its rounding noise by N7, and QK circuits compared as
/// `check` compares them. Refers to the module, which has to outlive it.
HeadPrecision<double> stored_precision(const StoredAttention& module);

/// The same from the formats that the numbers are stored in.
/// @param with_radii  brings the module with its radii; called where heads are compared, at most once
HeadPrecision<double> stored_precision(const RoundedAttention& module,
                                       std::function<StoredAttention()> with_radii);

}  // namespace attnsym
