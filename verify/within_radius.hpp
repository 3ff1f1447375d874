#pragma once

#include <vector>

#include "symmetry/random.hpp"

namespace attnsym {

/// Moves every number by an independent error, spread evenly over its radius times `allowance`: to another
/// that could have been stored for the same function [N7].
/// @param radius  of the same shape
template <class Slot>
void move_within_radius(Slot& slot, const double* radius, Random& random, double allowance = 1) {
  Random local = random;  // in registers
  double* const numbers = slot.data();
  for (Index i = 0; i < slot.size(); ++i) numbers[i] += allowance * radius[i] * local.uniform();
  random = local;
}

/// The same for all slots of some weights.
/// @param for_each  such as for_each_slot
template <class Weights, class ForEachSlot>
void move_all_within_radius(Weights& weights, const Weights& radius, ForEachSlot for_each, Random& random,
                            double allowance = 1) {
  std::vector<const double*> radii;
  for_each(radius, [&](const auto& slot) { radii.push_back(slot.data()); });
  std::size_t next = 0;
  for_each(weights, [&](auto& slot) { move_within_radius(slot, radii[next++], random, allowance); });
}

}  // namespace attnsym
