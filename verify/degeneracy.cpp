#include "verify/degeneracy.hpp"

#include <algorithm>

#include "symmetry/balance.hpp"
#include "verify/rounding.hpp"

namespace attnsym {
namespace {

std::string head_name(const char* module, Index head) {
  return std::string("head ") + std::to_string(head) + " of " + module;
}

// How many singular values of a stored circuit stand above its rounding noise, or above double arithmetic if
// it is exact.
Index visible_rank(const StoredCircuit& circuit) {
  const double noise = std::max(relative_noise(circuit), tolerance<double>());
  return balance<double>(circuit.value.left, circuit.value.right, noise).rank;
}

std::string rank_defect(const StoredAttention& module, const char* name) {
  for (Index head = 0; head < module.config.heads; ++head) {
    const Index vo = visible_rank(stored_vo_circuit(module, head));
    if (vo == 0) return head_name(name, head) + " is dead, its OV circuit is zero";
    if (vo < module.config.value_width) {
      return "the OV circuit of " + head_name(name, head) + " has rank " + std::to_string(vo) + " of " +
             std::to_string(module.config.value_width);
    }
    const Index qk = visible_rank(stored_qk_circuit(module, head));
    if (qk < module.config.key_width) {
      return "the QK circuit of " + head_name(name, head) + " has rank " + std::to_string(qk) + " of " +
             std::to_string(module.config.key_width);
    }
  }
  return {};
}

std::string coincidence(const StoredAttention& module, const char* name) {
  for (Index i = 0; i < module.config.heads; ++i) {
    for (Index j = i + 1; j < module.config.heads; ++j) {
      if (!compare(stored_qk_circuit(module, i), stored_qk_circuit(module, j)).explained_by_rounding())
        continue;
      return head_name(name, i) + " and head " + std::to_string(j) +
             " have the same QK circuit, only their sum counts";
    }
  }
  return {};
}

}  // namespace

std::string describe_degeneracy(const StoredAttention& a, const StoredAttention& b) {
  for (const std::string& found :
       {rank_defect(a, "A"), coincidence(a, "A"), rank_defect(b, "B"), coincidence(b, "B")}) {
    if (!found.empty()) return found;
  }
  return {};
}

}  // namespace attnsym
