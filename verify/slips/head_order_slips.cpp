#include <algorithm>
#include <limits>

#include "symmetry/random.hpp"
#include "verify/fingerprint.hpp"
#include "verify/slips/slip.hpp"

namespace attnsym {
namespace {

using enum Projection;

constexpr Index probe_count = 8;
constexpr std::uint64_t probe_salt = 0x736c6970;
constexpr double close_enough = 0.01;  // squared, relative: proposals are judged later

// x_t^T W_i of every head i of a projection: probe_count x width each.
using Probed = std::vector<Matrix<double>>;

// @param other  the other side of the same circuit has other probes
Probed probed(Projections& projections, Projection which, Index heads, bool other, Index model_width) {
  const Matrix<double> probe = fixed_probe<double>(model_width, probe_count, probe_salt + (other ? 1 : 0));
  const Matrix<double> all = probe.transpose() * projections.at(which).topRows(model_width);
  const Index width = all.cols() / heads;
  Probed result;
  for (Index i = 0; i < heads; ++i) result.push_back(all.middleCols(width * i, width));
  return result;
}

RowVector<double> circuit_probes(const Matrix<double>& left, const Matrix<double>& right) {
  return left.cwiseProduct(right).rowwise().sum().transpose();
}

double relative_distance(const RowVector<double>& a, const RowVector<double>& b) {
  const double size = a.squaredNorm() + b.squaredNorm();
  return size > 0 ? (a - b).squaredNorm() / size : 0;
}

// One circuit, its two projections and what they are probed to.
struct CircuitSides {
  Probed of_heads;   // queries or outputs
  Probed of_groups;  // keys or values

  CircuitSides(const StoredAttention& module, Projection by_head, Projection by_group) {
    const AttentionConfig& c = module.config;
    Projections projections = projections_of(module.weights, c);
    of_heads = probed(projections, by_head, c.heads, false, c.model_width);
    of_groups = probed(projections, by_group, c.groups, true, c.model_width);
  }
};

// Of every head of the module, the heads of the reference that have one of its circuits.
using Likes = std::vector<std::vector<Index>>;

Likes likes_of(const std::vector<Fingerprint>& prints, const std::vector<Fingerprint>& known) {
  Likes likes(prints.size());
  for (std::size_t i = 0; i < prints.size(); ++i) {
    for (std::size_t k = 0; k < known.size(); ++k)
      if (relative_distance(prints[i], known[k]) < close_enough) likes[i].push_back(static_cast<Index>(k));
  }
  return likes;
}

// What the circuit of a head should be, by its other circuit.
class ExpectedCircuits {
 public:
  // @param known  the sides of this circuit in the reference
  ExpectedCircuits(const CircuitSides& known, Index readers, Likes likes) : likes_(std::move(likes)) {
    for (std::size_t i = 0; i < known.of_heads.size(); ++i)
      probes_.push_back(
          circuit_probes(known.of_heads[i], known.of_groups[i / static_cast<std::size_t>(readers)]));
  }

  bool is_that_of(Index head, const RowVector<double>& probes) const {
    return std::any_of(likes_[head].begin(), likes_[head].end(),
                       [&](Index like) { return relative_distance(probes_[like], probes) < close_enough; });
  }

 private:
  Likes likes_;
  std::vector<RowVector<double>> probes_;
};

// p(i): which of `count` things belongs in place i; nothing unless each is found once, or if all are in
// place.
template <class Fits>
std::optional<std::vector<Index>> places(Index count, Fits fits) {
  std::vector<Index> order;
  std::vector<bool> used(static_cast<std::size_t>(count), false);
  for (Index place = 0; place < count; ++place) {
    Index found = 0;
    while (found < count && (used[found] || !fits(place, found))) ++found;
    if (found == count) return std::nullopt;
    used[found] = true;
    order.push_back(found);
  }
  return std::is_sorted(order.begin(), order.end()) ? std::nullopt : std::optional(order);
}

StoredAttention with_heads_in(const StoredAttention& module, Projection which,
                              const std::vector<Index>& order) {
  return moved(module, [&](Projections& p) {
    const Matrix<double> old = p.at(which);
    const Index width = old.cols() / static_cast<Index>(order.size());
    for (std::size_t i = 0; i < order.size(); ++i)
      p.at(which).middleCols(width * static_cast<Index>(i), width) = old.middleCols(width * order[i], width);
  });
}

// The heads of `which`, one of the sides of a circuit, are in another order than the other side's.
Slip one_in_other_order(Projection which, Projection by_head, Projection by_group) {
  Slip slip;
  slip.text = "heads are in another order than those of the other projections";
  slip.projections = {which};
  slip.undone = [which, by_head, by_group](
                    const StoredAttention& module,
                    const StoredAttention& reference) -> std::optional<StoredAttention> {
    const AttentionConfig& c = module.config;
    const Index r = c.readers_per_group();
    Likes likes = by_head == Output ? likes_of(qk_fingerprints(module), qk_fingerprints(reference))
                                    : likes_of(vo_fingerprints(module), vo_fingerprints(reference));
    const ExpectedCircuits expected(CircuitSides(reference, by_head, by_group),
                                    reference.config.readers_per_group(), std::move(likes));
    const CircuitSides sides(module, by_head, by_group);
    const auto fits_head = [&](Index place, Index head) {
      return expected.is_that_of(place, circuit_probes(sides.of_heads[head], sides.of_groups[place / r]));
    };
    const auto fits_group = [&](Index place, Index group) {
      for (Index i = r * place; i < r * (place + 1); ++i)
        if (!expected.is_that_of(i, circuit_probes(sides.of_heads[i], sides.of_groups[group]))) return false;
      return true;
    };
    const auto order = which == by_head ? places(c.heads, fits_head) : places(c.groups, fits_group);
    if (!order) return std::nullopt;
    return with_heads_in(module, which, *order);
  };
  return slip;
}

// Both circuits of every head are there, but not those of one head together.
Slip circuits_in_other_order() {
  Slip slip;
  slip.text = "heads are in another order than those of queries and keys";
  slip.projections = {Value, Output};
  slip.undone = [](const StoredAttention& module,
                   const StoredAttention& reference) -> std::optional<StoredAttention> {
    const AttentionConfig& c = module.config;
    if (c.heads != c.groups || reference.config.heads != c.heads) return std::nullopt;
    const std::vector<Fingerprint> qk = qk_fingerprints(module);
    const std::vector<Fingerprint> vo = vo_fingerprints(module);
    const std::vector<Fingerprint> qk_known = qk_fingerprints(reference);
    const std::vector<Fingerprint> vo_known = vo_fingerprints(reference);
    const auto order = places(c.heads, [&](Index place, Index head) {
      for (Index k = 0; k < c.heads; ++k) {
        if (relative_distance(qk[place], qk_known[k]) < close_enough &&
            relative_distance(vo[head], vo_known[k]) < close_enough)
          return true;
      }
      return false;
    });
    if (!order) return std::nullopt;
    return with_heads_in(with_heads_in(module, Value, *order), Output, *order);
  };
  return slip;
}

}  // namespace

std::vector<Slip> head_order_slips() {
  return {one_in_other_order(Output, Output, Value), one_in_other_order(Value, Output, Value),
          one_in_other_order(Query, Query, Key), one_in_other_order(Key, Query, Key),
          circuits_in_other_order()};
}

}  // namespace attnsym
