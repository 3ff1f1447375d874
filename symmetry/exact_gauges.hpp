#pragma once

#include "symmetry/attention_symmetry.hpp"
#include "symmetry/exponent_range.hpp"

namespace attnsym {

/// The formats that the four maps of a module are stored in.
struct ModuleFormats {
  ExponentRange query, key, value, output;
};

/// Brings the factors +-2^e of monomial gauges so close to one that every product with a stored number is a
/// number of its format again: none overflows, and none loses bits among the subnormal numbers. A factor that
/// no e allows, because the weights are not in these formats, becomes +-1, and so do all that would stretch
/// gains.
/// @param element  of SampleOptions::monomial, without shifts
/// @throws ShapeError if element and weights differ in shape
AttentionElement<double> with_exact_products(const AttentionElement<double>& element,
                                             const AttentionWeights<double>& weights,
                                             const ModuleFormats& formats);

}  // namespace attnsym
