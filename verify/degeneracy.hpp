#pragma once

#include <string>

#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// In words, the first way in which one of the modules leaves the generic stratum of N3, judged at the
/// resolution of its storage: a circuit of deficient rank, a head whose OV circuit is zero, two heads with
/// the same QK circuit. Empty if there is none.
std::string describe_degeneracy(const StoredAttention& a, const StoredAttention& b);

}  // namespace attnsym
