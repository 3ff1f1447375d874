#include "verify/matching.hpp"

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
Matrix<double> head_costs(const StoredAttention& a, const StoredAttention& b) {
  const std::vector<Fingerprint> qk_a = qk_fingerprints(a);
  const std::vector<Fingerprint> qk_b = qk_fingerprints(b);
  const std::vector<Fingerprint> vo_a = vo_fingerprints(a);
  const std::vector<Fingerprint> vo_b = vo_fingerprints(b);
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

Matching match_heads(const StoredAttention& a, const StoredAttention& b) {
  const Matrix<double> cost = head_costs(a, b);
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
