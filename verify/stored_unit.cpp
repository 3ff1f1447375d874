#include "verify/stored_unit.hpp"

#include <algorithm>

#include "symmetry/safe_norm.hpp"
#include "verify/storage_error.hpp"

namespace attnsym {

double effective_unit(const StoredCircuit& c) {
  return std::max(stored_unit(c.value.left.norm(), c.radius.left.norm()),
                  stored_unit(c.value.right.norm(), c.radius.right.norm()));
}

double effective_unit(const StoredScores& scores) {
  double unit = 0;
  for (const StoredTerm& term : scores.terms) unit = std::max(unit, effective_unit(term.circuit));
  return unit;
}

double storage_unit(const StoredAttention& module) {
  std::vector<double> radii;
  for_each_slot(module.radius, [&](const auto& slot) { radii.push_back(safe_norm(slot)); });
  double unit = 0;
  std::size_t next = 0;
  for_each_slot(module.weights, [&](const auto& slot) {
    unit = std::max(unit, stored_unit(safe_norm(slot), radii[next++]));
  });
  return unit;
}

}  // namespace attnsym
