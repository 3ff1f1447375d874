#pragma once

#include <optional>
#include <vector>

#include "symmetry/canonical.hpp"
#include "symmetry/reduced_form.hpp"

namespace attnsym {

/// A group in its canonical gauges, on its way to its place in the canonical form.
template <RealScalar S>
struct CanonicalDraft {
  KvGroup<S> group;
  std::optional<Gauges<S>> gauges;   ///< absent where heads were merged or dropped or a circuit lacks rank
  CanonicalMargins<S> margins;       ///< but for the order
  std::vector<Index> reader_class;   ///< per reader, as in ReducedGroup
  std::vector<S> reader_invariants;  ///< ascending in the canonical form; infinite for zero readers
  S group_invariant{0};              ///< likewise for groups
};

/// The groups that a reduced group becomes: as many as went in. The singular values of merged heads are dealt
/// out in decreasing order, a head's width at a time, and what is left over is zero [N6].
/// @param reduced, input  whose matrices of this group move into the result where they can
template <RealScalar S>
std::vector<CanonicalDraft<S>> draft_groups(ReducedGroup<S>& reduced, AttentionWeights<S>& input,
                                            const AttentionConfig& config, const HeadPrecision<S>& precision);

}  // namespace attnsym
