#include "symmetry/canonical.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "symmetry/arranged_gains.hpp"
#include "symmetry/canonical_draft.hpp"
#include "symmetry/centred.hpp"
#include "symmetry/circuits.hpp"
#include "symmetry/distance_buckets.hpp"

namespace attnsym {
namespace {

// What decides a group's place and that of its readers. Zeros go last.
template <RealScalar S>
struct OrderInvariants {
  std::vector<S> readers;
  S group{0};
};

// The permutation that sorts the values ascending among items of equal key, which keep their places between
// them: p(i) is the place of entry i. `places` has the key that belongs to each place.
template <RealScalar S, class Key>
Permutation sorting(const std::vector<S>& values, const std::vector<Key>& keys,
                    const std::vector<Key>& places) {
  std::vector<Index> order(values.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return values[a] < values[b]; });
  std::vector<Index> image(values.size());
  std::vector<bool> taken(values.size(), false);
  for (const Index item : order) {
    std::size_t place = 0;
    while (taken[place] || !(places[place] == keys[item])) ++place;
    taken[place] = true;
    image[item] = static_cast<Index>(place);
  }
  return Permutation::from_image(std::move(image));
}

// Smallest distance between two of the finite values, relative to `size`; infinite for a single one.
template <RealScalar S>
S smallest_gap(std::vector<S> values, const S& size) {
  std::erase(values, std::numeric_limits<S>::infinity());
  std::sort(values.begin(), values.end());
  S gap = std::numeric_limits<S>::infinity();
  for (std::size_t i = 1; i < values.size(); ++i) gap = std::min(gap, S(values[i] - values[i - 1]));
  return size > 0 ? S(gap / size) : gap;
}

template <RealScalar S>
S invariant_size(const CanonicalMargins<S>& margins) {
  return margins.qk_sigma.norm() + margins.vo_sigma.norm();
}

template <RealScalar S>
GroupMove<S> order_readers(CanonicalDraft<S>& draft, const AttentionConfig& config,
                           std::vector<double> slopes) {
  slopes.resize(draft.reader_invariants.size());
  const Permutation order = sorting(draft.reader_invariants, slopes, slopes);
  draft.group.readers = act(order, std::move(draft.group.readers));
  draft.reader_class = act(order, std::move(draft.reader_class));
  draft.margins.order_margin = smallest_gap(draft.reader_invariants, invariant_size(draft.margins));
  const Gauges<S> identity{Affine<S>::identity(config.key_width), Affine<S>::identity(config.value_width)};
  return {order, draft.gauges.value_or(identity)};
}

template <RealScalar S>
void note_group_gaps(std::vector<CanonicalDraft<S>>& drafts) {
  using std::abs;
  const S infinity = std::numeric_limits<S>::infinity();
  for (CanonicalDraft<S>& draft : drafts) {
    draft.margins.order_margin = infinity;
    if (draft.group_invariant == infinity) continue;
    for (const CanonicalDraft<S>& other : drafts) {
      if (&draft == &other || other.group_invariant == infinity) continue;
      const S size = std::max(invariant_size(draft.margins), invariant_size(other.margins));
      const S gap = abs(draft.group_invariant - other.group_invariant);
      draft.margins.order_margin = std::min(draft.margins.order_margin, size > 0 ? S(gap / size) : S(0));
    }
  }
}

// The heads of the input and of the drafts, which are in their final order, by QK circuit.
template <RealScalar S>
HeadClasses classes_of(const ReducedForm<S>& reduced, const std::vector<std::vector<Index>>& reader_classes) {
  HeadClasses classes;
  for (const std::vector<Index>& heads : reduced.classes) classes.push_back({heads, {}});
  HeadClass zeros;
  Index head = 0;
  for (const std::vector<Index>& group : reader_classes) {
    for (const Index number : group) (number == no_class ? zeros : classes[number]).b.push_back(head++);
  }
  if (!zeros.b.empty()) classes.push_back(std::move(zeros));
  return classes;
}

// But for gains and tables, which are in canonical form already if there are any.
template <RealScalar S>
Canonical<S> canonical_form(const AttentionWeights<S>& weights, const AttentionConfig& config,
                            const HeadPrecision<S>& precision) {
  const ReducedForm<S> reduced = reduce(weights, config, precision);
  std::vector<CanonicalDraft<S>> drafts;
  for (const ReducedGroup<S>& group : reduced.groups) {
    for (CanonicalDraft<S>& draft : draft_groups(group, weights, config, precision))
      drafts.push_back(std::move(draft));
  }
  note_group_gaps(drafts);

  Canonical<S> result;
  result.weights.query_gain = weights.query_gain;
  result.weights.key_gain = weights.key_gain;
  if (config.output_bias) result.weights.output_bias = constant_output(config, weights);
  const std::vector<std::vector<double>> slopes_of_place = config.slopes_by_group();
  std::vector<std::vector<double>> slopes;
  std::vector<S> invariants;
  std::vector<GroupMove<S>> moves;
  std::vector<std::vector<Index>> reader_classes;
  bool in_orbit = true;
  for (CanonicalDraft<S>& draft : drafts) {
    invariants.push_back(draft.group_invariant);
    const S group_gap = draft.margins.order_margin;
    slopes.push_back(slopes_of_place[draft.margins.group_in_input]);
    moves.push_back(order_readers(draft, config, slopes.back()));
    draft.margins.order_margin = std::min(draft.margins.order_margin, group_gap);
    in_orbit = in_orbit && draft.gauges.has_value();
    reader_classes.push_back(std::move(draft.reader_class));
    result.weights.groups.push_back(std::move(draft.group));
    result.margins.push_back(std::move(draft.margins));
  }
  const Permutation order = sorting(invariants, slopes, slopes_of_place);
  result.weights.groups = act(order, std::move(result.weights.groups));
  result.margins = act(order, std::move(result.margins));
  result.classes = classes_of(reduced, act(order, std::move(reader_classes)));
  if (in_orbit) result.canonical_from_input = AttentionElement<S>{std::move(moves), order};
  return result;
}

// But for tables and centred inputs.
template <RealScalar S>
Canonical<S> canonical_beside_norms(const AttentionWeights<S>& weights, const AttentionConfig& config,
                                    const HeadPrecision<S>& precision) {
  if (!config.qk_norm) return canonical_form(weights, config, precision);
  const ArrangedGains<S> arranged = arrange_gains(weights, config);
  Canonical<S> result = canonical_form(arranged.weights, config, precision);
  for (CanonicalMargins<S>& margins : result.margins)
    margins.qk_sign_margin = std::min(margins.qk_sign_margin, arranged.margin);
  if (result.canonical_from_input && arranged.from_input) {
    result.canonical_from_input = compose(*result.canonical_from_input, *arranged.from_input);
  } else {
    result.canonical_from_input.reset();
  }
  return result;
}

// Whether all numbers are the same up to rounding.
template <RealScalar S>
bool nearly_equal(const AttentionWeights<S>& a, const AttentionWeights<S>& b) {
  std::vector<Matrix<S>> slots;
  for_each_slot(a, [&](const auto& slot) { slots.emplace_back(slot); });
  std::size_t next = 0;
  bool equal = true;
  for_each_slot(b, [&](const auto& slot) { equal = equal && is_close(slots[next++], Matrix<S>(slot)); });
  return equal;
}

bool settles(const AttentionConfig& config) {
  return !config.distance_buckets.empty() || config.centred_inputs;
}

// What no input sees and no element moves is taken away.
template <RealScalar S>
AttentionWeights<S> settled(const AttentionWeights<S>& weights, const AttentionConfig& config) {
  AttentionWeights<S> result = with_settled_tables(weights, config);
  return config.centred_inputs ? with_centred_weights(std::move(result)) : result;
}

// @param weights  settled
// @param input  what they were made of
template <RealScalar S>
Canonical<S> canonical_of_settled(const AttentionWeights<S>& weights, const AttentionWeights<S>& input,
                                  const AttentionConfig& config, const HeadPrecision<S>& precision) {
  Canonical<S> result = canonical_beside_norms(weights, config, precision);
  if (!nearly_equal(weights, input)) result.canonical_from_input.reset();
  return result;
}

}  // namespace

template <RealScalar S>
Canonical<S> canonicalize(const AttentionWeights<S>& weights, const AttentionConfig& config,
                          const HeadPrecision<S>& precision) {
  require_fits(weights, config);
  if (!settles(config)) return canonical_beside_norms(weights, config, precision);
  return canonical_of_settled(settled(weights, config), weights, config, precision);
}

template <RealScalar S>
Canonical<S> canonicalize(const AttentionWeights<S>& weights, const AttentionConfig& config, S unit) {
  require_fits(weights, config);
  if (!settles(config)) return canonicalize(weights, config, relative_precision(weights, config, unit));
  const AttentionWeights<S> seen = settled(weights, config);
  return canonical_of_settled(seen, weights, config, relative_precision(seen, config, unit));
}

double expected_change(const RowVector<double>& sigma, Index rows, Index cols, double relative_noise,
                       double coincidence) {
  const double sum = sigma.sum();
  if (!(sum > 0)) return 0;
  // Entry noise phi of both factors moves the circuit by phi^2 (rows + cols) sum(sigma) in square.
  const double phi_squared =
      sigma.squaredNorm() * relative_noise * relative_noise / (static_cast<double>(rows + cols) * sum);
  double change = 0;
  for (Index k = 0; k < sigma.size(); ++k) {
    if (!(sigma(k) > 0)) continue;
    for (Index l = 0; l < sigma.size(); ++l) {
      const double gap = std::abs(sigma(k) - sigma(l));
      if (gap <= coincidence * sigma(0)) continue;  // itself, or one cluster: fixed by the probe
      change +=
          2 * sigma(k) * (sigma(k) * sigma(k) + sigma(l) * sigma(l)) / ((sigma(k) + sigma(l)) * gap * gap);
    }
    change += static_cast<double>(std::max(rows + cols - 2 * sigma.size(), Index{0})) + 1;
  }
  return std::sqrt(phi_squared * change / (2 * sum));
}

template Canonical<float> canonicalize(const AttentionWeights<float>&, const AttentionConfig&,
                                       const HeadPrecision<float>&);
template Canonical<double> canonicalize(const AttentionWeights<double>&, const AttentionConfig&,
                                        const HeadPrecision<double>&);
template Canonical<Float50> canonicalize(const AttentionWeights<Float50>&, const AttentionConfig&,
                                         const HeadPrecision<Float50>&);
template Canonical<float> canonicalize(const AttentionWeights<float>&, const AttentionConfig&, float);
template Canonical<double> canonicalize(const AttentionWeights<double>&, const AttentionConfig&, double);
template Canonical<Float50> canonicalize(const AttentionWeights<Float50>&, const AttentionConfig&, Float50);

}  // namespace attnsym
