#pragma once

#include "verify/slips/slip.hpp"

namespace attnsym {

/// The smallest set of known slips, one or two, without which B would compute what A does: in the order in
/// which to undo them. Nothing where no such set is known, or B computes that as it is. Proposals are made on
/// part of the model width and by probes; what is returned has been decided by decide_equivalence [N11].
/// @pre equal model widths
std::optional<std::vector<Slip>> find_slips(StoredAttention a, StoredAttention b);

/// Whether B without these slips computes what A does.
bool slips_explain(const StoredAttention& a, const StoredAttention& b, const std::vector<Slip>& slips);

}  // namespace attnsym
