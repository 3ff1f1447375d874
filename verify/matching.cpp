#include "verify/matching.hpp"

#include <array>

#include "symmetry/assignment.hpp"
#include "verify/fingerprint.hpp"

namespace attnsym {
namespace {

// More than any two fingerprints are: heads of different slope are never matched if it can be helped.
constexpr double heads_apart = 100;

bool same_slope(const AttentionConfig& a, Index i, const AttentionConfig& b, Index k) {
  return a.slopes.empty() || b.slopes.empty() || a.slopes[i] == b.slopes[k];
}

// cost(i, k): how far head i of A is from head k of B.
Matrix<double> head_costs(const StoredAttention& a, const StoredAttention& b, const RunTasks& run_tasks) {
  std::array<std::vector<Fingerprint>, 4> prints;
  run_tasks(prints.size(), [&](std::size_t i) {
    const StoredAttention& module = i % 2 == 0 ? a : b;
    prints[i] = i < 2 ? qk_fingerprints(module) : vo_fingerprints(module);
  });
  const auto& [qk_a, qk_b, vo_a, vo_b] = prints;
  Matrix<double> cost(a.config.heads, b.config.heads);
  for (Index i = 0; i < cost.rows(); ++i) {
    for (Index k = 0; k < cost.cols(); ++k) {
      cost(i, k) = relative_distance(qk_a[i], qk_b[k]) + relative_distance(vo_a[i], vo_b[k]);
      if (!same_slope(a.config, i, b.config, k)) cost(i, k) += heads_apart;
    }
  }
  return cost;
}

}  // namespace

Index Matching::image_of(Index head) const {
  const Index r = readers.front().size();
  return groups(head / r) * r + readers[head / r](head % r);
}

Matching match_heads(const StoredAttention& a, const StoredAttention& b, const RunTasks& run_tasks) {
  const Matrix<double> cost = head_costs(a, b, run_tasks);
  const Index groups = a.config.groups;
  const Index readers = a.config.readers_per_group();
  const auto inside = [&](Index j, Index k) {
    return solve_assignment(cost.block(j * readers, k * readers, readers, readers));
  };
  Matrix<double> group_cost(groups, groups);
  for (Index j = 0; j < groups; ++j) {
    for (Index k = 0; k < groups; ++k) group_cost(j, k) = inside(j, k).cost;
  }
  Matching matching{Permutation::from_image(solve_assignment(group_cost).column_of_row), {}};
  for (Index j = 0; j < groups; ++j)
    matching.readers.push_back(Permutation::from_image(inside(j, matching.groups(j)).column_of_row));
  return matching;
}

}  // namespace attnsym
