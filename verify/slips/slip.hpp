#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "verify/slips/projections.hpp"

namespace attnsym {

/// A mistake that conversions are known to make: an isomorphism of conventions taken for the identity [N11].
/// It is a hypothesis about B; whether it holds, the circuits tell.
struct Slip {
  std::string text;                     ///< what B has, for people: "rotary pairs are interleaved, ..."
  std::vector<Projection> projections;  ///< which projections it concerns; empty for the configuration
  bool scales_scores = false;  ///< where queries and keys are normalised only their gains can do that

  /// The module without the slip, if it can have been made there.
  /// @param reference  what it was made from, in the same convention
  /// @pre all biases of both are there
  std::function<std::optional<StoredAttention>(const StoredAttention& module,
                                               const StoredAttention& reference)>
      undone;

  /// Of a slip that moves numbers along the model width, the same on the first coordinates alone: `front`,
  /// which is what of the module is there, without the slip. Elsewhere empty: `undone` may be given a front.
  std::function<std::optional<StoredAttention>(const StoredAttention& module, const StoredAttention& front)>
      undone_in_front{};
};

/// All that are known, the likeliest first.
const std::vector<Slip>& known_slips();

/// Slips that move numbers of the projections: the order of pairs, heads, groups and fused tensors, exchanged
/// and transposed projections.
std::vector<Slip> layout_slips();

/// Heads of one projection in another order than those of the others.
std::vector<Slip> head_order_slips();

/// The configuration, the scale, lost biases, gains stored less one.
std::vector<Slip> setting_slips();

}  // namespace attnsym
