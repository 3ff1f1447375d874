#include "verify/matching.hpp"

#include "symmetry/assignment.hpp"
#include "symmetry/circuits.hpp"
#include "symmetry/random.hpp"

namespace attnsym {
namespace {

constexpr Index probe_count = 8;
constexpr std::uint64_t matching_salt = 0x6d61746368;

// x_t^T left right^T y_t for pseudo-random x_t, y_t, the columns of `left` and `right`.
struct Probe {
  Matrix<double> left;
  Matrix<double> right;

  Probe(Index rows, Index cols, std::uint64_t salt)
      : left(fixed_probe<double>(rows, probe_count, salt)),
        right(fixed_probe<double>(cols, probe_count, salt + 1)) {}

  RowVector<double> operator()(const Circuit<double>& c) const {
    return ((left.transpose() * c.left).cwiseProduct(right.transpose() * c.right))
        .rowwise()
        .sum()
        .transpose();
  }
};

struct Fingerprint {
  RowVector<double> qk;
  RowVector<double> vo;
};

std::vector<Fingerprint> fingerprints(const AttentionConfig& config,
                                      const AttentionWeights<double>& weights) {
  const Index d = config.model_width;
  const Probe qk(d + 1, d, matching_salt);
  const Probe vo(d, d, matching_salt + 2);
  std::vector<Fingerprint> result;
  for (Index head = 0; head < config.heads; ++head) {
    result.push_back({qk(qk_circuit(config, weights, head)), vo(vo_circuit(config, weights, head))});
  }
  return result;
}

// 0 for equal, about 1 for unrelated probes of any size.
double relative_distance(const RowVector<double>& a, const RowVector<double>& b) {
  const double size = a.squaredNorm() + b.squaredNorm();
  return size > 0 ? (a - b).squaredNorm() / size : 0;
}

Assignment match_readers(const std::vector<Fingerprint>& a, const std::vector<Fingerprint>& b, Index group_a,
                         Index group_b, Index readers) {
  Matrix<double> cost(readers, readers);
  for (Index i = 0; i < readers; ++i) {
    for (Index k = 0; k < readers; ++k) {
      const Fingerprint& from = a[group_a * readers + i];
      const Fingerprint& to = b[group_b * readers + k];
      cost(i, k) = relative_distance(from.qk, to.qk) + relative_distance(from.vo, to.vo);
    }
  }
  return solve_assignment(cost);
}

}  // namespace

Index Matching::image_of(Index head) const {
  const Index r = readers.front().size();
  return groups(head / r) * r + readers[head / r](head % r);
}

Matching match_heads(const AttentionConfig& config, const AttentionWeights<double>& a,
                     const AttentionWeights<double>& b) {
  const std::vector<Fingerprint> from = fingerprints(config, a);
  const std::vector<Fingerprint> to = fingerprints(config, b);
  const Index readers = config.readers_per_group();
  Matrix<double> cost(config.groups, config.groups);
  for (Index j = 0; j < config.groups; ++j) {
    for (Index k = 0; k < config.groups; ++k) cost(j, k) = match_readers(from, to, j, k, readers).cost;
  }
  Matching matching{Permutation::from_image(solve_assignment(cost).column_of_row), {}};
  for (Index j = 0; j < config.groups; ++j) {
    const Assignment inside = match_readers(from, to, j, matching.groups(j), readers);
    matching.readers.push_back(Permutation::from_image(inside.column_of_row));
  }
  return matching;
}

}  // namespace attnsym
