#include "symmetry/canonical.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "symmetry/balance.hpp"
#include "symmetry/circuits.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/random.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t order_probe_salt = 0x6f72646572;

// Q^ of all readers of a group on top of each other, r (D+1) x dk.
template <RealScalar S>
Matrix<S> stacked_queries(const KvGroup<S>& group) {
  const Index rows = group.key.rows() + 1;
  Matrix<S> stack(rows * static_cast<Index>(group.readers.size()), group.key.cols());
  for (std::size_t i = 0; i < group.readers.size(); ++i) {
    const QueryHead<S>& reader = group.readers[i];
    stack.middleRows(rows * i, rows - 1) = reader.query;
    stack.row(rows * i + rows - 1).setZero();
    if (reader.query_bias.size() > 0) stack.row(rows * i + rows - 1) = reader.query_bias;
  }
  return stack;
}

// O^T of all readers on top of each other, r D x dv.
template <RealScalar S>
Matrix<S> stacked_outputs(const KvGroup<S>& group) {
  const Index rows = group.value.rows();
  Matrix<S> stack(rows * static_cast<Index>(group.readers.size()), group.value.cols());
  for (std::size_t i = 0; i < group.readers.size(); ++i) {
    stack.middleRows(rows * i, rows) = group.readers[i].output.transpose();
  }
  return stack;
}

template <RealScalar S>
KvGroup<S> from_balanced(const KvGroup<S>& group, Balanced<S>&& qk, Balanced<S>&& vo) {
  const Index d = group.key.rows();
  KvGroup<S> result{std::move(qk.right), {}, group.key_bias, group.value_bias, {}};
  if (vo.right.rows() > d) {
    result.value_bias = vo.right.bottomRows(1);
    result.value = vo.right.topRows(d);
  } else {
    result.value = std::move(vo.right);
  }
  for (std::size_t i = 0; i < group.readers.size(); ++i) {
    QueryHead<S> reader{qk.left.middleRows((d + 1) * i, d), vo.left.middleRows(d * i, d).transpose(),
                        group.readers[i].query_bias};
    if (reader.query_bias.size() > 0) reader.query_bias = qk.left.row((d + 1) * i + d);
    result.readers.push_back(std::move(reader));
  }
  return result;
}

// A group with its gauges balanced, on its way to its place.
template <RealScalar S>
struct Draft {
  KvGroup<S> group;
  std::optional<Gauges<S>> gauges;
  CanonicalMargins<S> margins;
  std::vector<S> reader_invariants;
  S group_invariant{0};
};

// @param carry_value_bias  with the values, for want of an output bias that it could move to [N6.3]
template <RealScalar S>
Draft<S> balance_group(const KvGroup<S>& group, Index place, bool carry_value_bias, S coincidence) {
  Balanced<S> qk = balance<S>(stacked_queries(group), group.key, coincidence);
  const Matrix<S> outputs = stacked_outputs(group);
  Balanced<S> vo = carry_value_bias
                       ? balance<S>(outputs, homogeneous(group.value, group.value_bias), coincidence)
                       : balance<S>(outputs, group.value, coincidence);
  Draft<S> draft;
  draft.margins = {place, qk.sigma, vo.sigma, qk.rank, vo.rank, qk.sign_margin, vo.sign_margin, S(1)};
  if (qk.linear && vo.linear) {
    draft.gauges = Gauges<S>{{*qk.linear, RowVector<S>::Zero(group.key.cols())},
                             {*vo.linear, RowVector<S>::Zero(group.value.cols())}};
  }
  draft.group = from_balanced(group, std::move(qk), std::move(vo));
  return draft;
}

// Free biases become zero; what the value biases added to every output goes to the output bias [N6.3]. The
// input is still needed: below full rank the old value bias has no image under a gauge.
template <RealScalar S>
void clear_free_biases(const KvGroup<S>& input, Draft<S>& draft, RowVector<S>& output_bias) {
  if (input.key_bias.size() > 0) {
    draft.group.key_bias.setZero();
    if (draft.gauges)
      draft.gauges->first.shift = -input.key_bias * draft.gauges->first.linear.matrix().transpose();
  }
  if (input.value_bias.size() == 0 || output_bias.size() == 0) return;
  for (const QueryHead<S>& reader : input.readers) output_bias += input.value_bias * reader.output;
  draft.group.value_bias.setZero();
  if (draft.gauges)
    draft.gauges->second.shift = -input.value_bias * draft.gauges->second.linear.matrix().transpose();
}

// probe^T M probe' + probe^T N probe' per reader: invariant under every gauge and shift.
template <RealScalar S>
void add_invariants(Draft<S>& draft) {
  const Index d = draft.group.key.rows();
  const Matrix<S> probe = fixed_probe<S>(d + 1, 4, order_probe_salt);
  const RowVector<S> keys = probe.col(0).head(d).transpose() * draft.group.key;
  const RowVector<S> values = probe.col(1).head(d).transpose() * draft.group.value;
  for (const QueryHead<S>& reader : draft.group.readers) {
    RowVector<S> queries = probe.col(2).head(d).transpose() * reader.query;
    if (reader.query_bias.size() > 0) queries += probe(d, 2) * reader.query_bias;
    const RowVector<S> outputs = (reader.output * probe.col(3).head(d)).transpose();
    draft.reader_invariants.push_back(queries.dot(keys) + values.dot(outputs));
    draft.group_invariant += draft.reader_invariants.back();
  }
}

// The permutation that sorts the values ascending: p(i) is the place of entry i.
template <RealScalar S>
Permutation sorting(const std::vector<S>& values) {
  std::vector<Index> order(values.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Index a, Index b) { return values[a] < values[b]; });
  return inverse(Permutation::from_image(order));
}

// Smallest distance between two of the values, relative to `size`; infinite for a single value.
template <RealScalar S>
S smallest_gap(std::vector<S> values, const S& size) {
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
GroupMove<S> order_readers(Draft<S>& draft, const AttentionConfig& config) {
  const Permutation order = sorting(draft.reader_invariants);
  draft.group.readers = act(order, std::move(draft.group.readers));
  draft.margins.order_margin = smallest_gap(draft.reader_invariants, invariant_size(draft.margins));
  const Gauges<S> identity{Affine<S>::identity(config.key_width), Affine<S>::identity(config.value_width)};
  return {order, draft.gauges.value_or(identity)};
}

template <RealScalar S>
void note_group_gaps(std::vector<Draft<S>>& drafts) {
  using std::abs;
  for (Draft<S>& draft : drafts) {
    for (const Draft<S>& other : drafts) {
      if (&draft == &other) continue;
      const S size = std::max(invariant_size(draft.margins), invariant_size(other.margins));
      const S gap = abs(draft.group_invariant - other.group_invariant);
      draft.margins.order_margin = std::min(draft.margins.order_margin, size > 0 ? S(gap / size) : S(0));
    }
  }
}

// Balancing by GL(dk) and free biases are right for these alone [N5].
void require_plain_scores(const AttentionConfig& config) {
  if (config.rotary.pairs() > 0 || !config.slopes.empty() || config.softcap != 0 || config.sinks) {
    throw ShapeError(
        "the canonical form of attention with rotary positions, ALiBi, softcap or sinks is not there yet");
  }
}

}  // namespace

template <RealScalar S>
Canonical<S> canonicalize(const AttentionWeights<S>& weights, const AttentionConfig& config, S coincidence) {
  require_fits(weights, config);
  require_plain_scores(config);
  Canonical<S> result;
  result.weights.output_bias = weights.output_bias;
  const bool carry_value_bias = config.value_bias && !config.output_bias;
  std::vector<Draft<S>> drafts;
  for (Index j = 0; j < config.groups; ++j) {
    drafts.push_back(balance_group(weights.groups[j], j, carry_value_bias, coincidence));
    clear_free_biases(weights.groups[j], drafts.back(), result.weights.output_bias);
    add_invariants(drafts.back());
  }
  note_group_gaps(drafts);

  std::vector<S> invariants;
  std::vector<GroupMove<S>> moves;
  bool full_rank = true;
  for (Draft<S>& draft : drafts) {
    invariants.push_back(draft.group_invariant);
    const S group_gap = draft.margins.order_margin;
    moves.push_back(order_readers(draft, config));
    draft.margins.order_margin = std::min(draft.margins.order_margin, group_gap);
    full_rank = full_rank && draft.gauges.has_value();
    result.weights.groups.push_back(std::move(draft.group));
    result.margins.push_back(draft.margins);
  }
  const Permutation order = sorting(invariants);
  result.weights.groups = act(order, std::move(result.weights.groups));
  result.margins = act(order, std::move(result.margins));
  if (full_rank) result.canonical_from_input = AttentionElement<S>{std::move(moves), order};
  return result;
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

template Canonical<float> canonicalize(const AttentionWeights<float>&, const AttentionConfig&, float);
template Canonical<double> canonicalize(const AttentionWeights<double>&, const AttentionConfig&, double);
template Canonical<Float50> canonicalize(const AttentionWeights<Float50>&, const AttentionConfig&, Float50);

}  // namespace attnsym
