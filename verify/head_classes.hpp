#pragma once

#include <optional>
#include <string>

#include "verify/class_comparison.hpp"
#include "verify/rounding.hpp"

namespace attnsym {

/// Puts together the heads whose scores agree within rounding with that of the first in their class. Modules
/// with different masks, softcaps or sinks have no score in common: their heads are kept apart, and equality
/// is left only if everything cancels [N3].
/// @pre equal widths; all biases present
HeadClasses classify_heads(const StoredAttention& a, const StoredAttention& b);

/// The reason why these are not classes of the heads of two modules - every head of both in exactly one,
/// heads with different masks, softcaps or sinks apart [N3], and where a norm is over all heads as many heads
/// of A as of B in each, as every head counts in it - or nothing.
std::optional<std::string> refute_partition(const StoredAttention& a, const StoredAttention& b,
                                            const HeadClasses& classes);

ClassComparison compare_class(const StoredAttention& a, const StoredAttention& b, const HeadClass& heads);

}  // namespace attnsym
