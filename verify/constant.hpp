#pragma once

#include "symmetry/stored_attention.hpp"
#include "verify/constant_comparison.hpp"

namespace attnsym {

ConstantComparison compare_constants(const StoredAttention& a, const StoredAttention& b);

}  // namespace attnsym
