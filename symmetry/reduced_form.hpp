#pragma once

#include <optional>
#include <vector>

#include "symmetry/head_precision.hpp"

namespace attnsym {

/// One key/value group of a module in reduced form [N6]. Where several groups of one reader have been merged,
/// their values are side by side and their outputs below each other, so the value width is a multiple of the
/// config's.
template <RealScalar S>
struct ReducedGroup {
  std::optional<KvGroup<S>> merged;  ///< absent if nothing happened: the group is groups.front() of the input
  std::vector<Index> groups;         ///< of the input that went in; the first gave the keys
  std::vector<Index> reader_class;   ///< per reader the number of its class, or no_class for a zero reader
  S qk_noise{0};  ///< Frobenius norm of what rounding may have added to the stacked circuits
  S vo_noise{0};
  S merge_margin{1};              ///< see CanonicalMargins
  bool shares_a_circuit = false;  ///< a reader of another group has a QK circuit of this one: not merged [N6]

  const KvGroup<S>& group(const AttentionWeights<S>& input) const {
    return merged ? *merged : input.groups[groups.front()];
  }
};

constexpr Index no_class = -1;

/// A module with the heads merged that have the same QK circuit, as far as its shape allows: all heads if
/// every group has one reader, else the readers of one group. In the latter case readers that add nothing to
/// the output have become zero; a single reader does so when it is balanced.
template <RealScalar S>
struct ReducedForm {
  std::vector<ReducedGroup<S>> groups;
  std::vector<std::vector<Index>> classes;  ///< heads of the input with one QK circuit, merged
};

/// Whether a value bias stays with the values, for want of an output bias that it could move to, or because
/// of a sink or gate [N6.3]: bv O_i is a part of the OV circuit then.
inline bool carries_value_bias(const AttentionConfig& config) {
  return config.value_bias && (!config.output_bias || config.value_bias_counts());
}

template <RealScalar S>
ReducedForm<S> reduce(const AttentionWeights<S>& weights, const AttentionConfig& config,
                      const HeadPrecision<S>& precision);

template <RealScalar S>
void set_zero(QueryHead<S>& reader);

}  // namespace attnsym
