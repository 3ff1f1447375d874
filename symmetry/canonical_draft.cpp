#include "symmetry/canonical_draft.hpp"

#include <algorithm>
#include <limits>

#include "symmetry/arranged_gains.hpp"
#include "symmetry/balance_scores.hpp"
#include "symmetry/circuits.hpp"
#include "symmetry/random.hpp"
#include "symmetry/rotated_scores.hpp"
#include "symmetry/scaled_columns.hpp"

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

// Both circuits of a reduced group, balanced.
template <RealScalar S>
struct BalancedGroup {
  BalancedScores<S> scores;
  Balanced<S> vo;
  std::optional<Permutation> gates{};  // where the columns of gates go
};

// The keys, with those of their biases that count.
template <RealScalar S>
Matrix<S> counted_keys(const AttentionConfig& config, const std::vector<GaugeBlock>& blocks,
                       const KvGroup<S>& group) {
  if (!key_bias_counts(config)) return group.key;
  RowVector<S> bias = group.key_bias;
  for (const GaugeBlock& block : blocks) {
    if (!key_bias_is_free(config, block)) continue;
    for (const Index column : block.real) bias(column) = S(0);
  }
  return homogeneous(group.key, bias);
}

// @param carry_value_bias  with the values, for want of an output bias that it could move to [N6.3]
template <RealScalar S>
BalancedGroup<S> balance_group(const ReducedGroup<S>& reduced, const KvGroup<S>& group,
                               const AttentionConfig& config, const HeadPrecision<S>& precision) {
  const bool carry_value_bias = carries_value_bias(config);
  const std::vector<GaugeBlock> blocks = gauge_blocks(config);
  const S slack = precision.slack;
  const Matrix<S> outputs = stacked_outputs(group);
  const Matrix<S> queries = stacked_queries(group);
  const Matrix<S> keys = counted_keys(config, blocks, group);
  const S qk_noise = slack * reduced.qk_noise;
  const auto scores = [&] {
    if (!config.qk_norm) return balance_scores<S>(queries, keys, blocks, precision.unit, qk_noise);
    if (config.qk_norm->gains != QkGains::Temperature) return fix_signs<S>(queries, keys, blocks);
    return rotate_scores<S>(queries, keys, blocks, precision.unit, qk_noise);
  };
  const S vo_noise = slack * reduced.vo_noise;
  const auto values_as = [&](auto form) {
    return carry_value_bias ? form(homogeneous(group.value, group.value_bias)) : form(group.value);
  };
  if (!config.output_gate) {
    return {scores(),
            values_as([&](const Matrix<S>& v) { return balance<S>(outputs, v, precision.unit, vo_noise); })};
  }
  ScaledColumns<S> scaled =
      values_as([&](const Matrix<S>& v) { return scale_columns<S>(outputs, v, vo_noise); });
  return {scores(), std::move(scaled.balanced), scaled.order};
}

// Where the columns of a balanced group go: as many as a head is wide, from the given one on.
struct Columns {
  Index begin;
  Index count;
};

// Gates go where the values do that they multiply; nothing is left of those that multiply nothing.
template <RealScalar S>
void arrange_gates(QueryHead<S>& reader, const BalancedGroup<S>& balanced) {
  const QueryHead<S> before = reader;
  for (Index k = 0; k < before.gate.cols(); ++k) {
    const Index place = (*balanced.gates)(k);
    const S kept = S(balanced.vo.sigma(place) > S(0) ? 1 : 0);
    reader.gate.col(place) = kept * before.gate.col(k);
    if (reader.gate_bias.size() > 0) reader.gate_bias(place) = kept * before.gate_bias(k);
  }
}

template <RealScalar S>
KvGroup<S> from_balanced(const KvGroup<S>& group, const BalancedGroup<S>& balanced, const Columns& vo) {
  const Index d = group.key.rows();
  const bool value_bias = group.value_bias.size() > 0;
  const Balanced<S>& qk = balanced.scores.all;
  KvGroup<S> result{qk.right.topRows(d),
                    balanced.vo.right.block(0, vo.begin, d, vo.count),
                    RowVector<S>::Zero(group.key_bias.size()),
                    RowVector<S>::Zero(value_bias ? vo.count : 0),
                    {},
                    group.gain};
  if (qk.right.rows() > d) result.key_bias = qk.right.row(d);
  if (balanced.vo.right.rows() > d) result.value_bias = balanced.vo.right.row(d).segment(vo.begin, vo.count);
  for (std::size_t i = 0; i < group.readers.size(); ++i) {
    QueryHead<S> reader{qk.left.middleRows((d + 1) * i, d),
                        balanced.vo.left.block(d * i, vo.begin, d, vo.count).transpose(),
                        group.readers[i].query_bias,
                        group.readers[i].sink,
                        group.readers[i].gain,
                        group.readers[i].distance_bias,
                        group.readers[i].gate,
                        group.readers[i].gate_bias};
    if (balanced.gates) arrange_gates(reader, balanced);
    if (reader.query_bias.size() > 0) reader.query_bias = qk.left.row((d + 1) * i + d);
    result.readers.push_back(std::move(reader));
  }
  return result;
}

template <RealScalar S>
void set_zero(KvGroup<S>& group) {
  group.key.setZero();
  group.value.setZero();
  group.value_bias.setZero();
  group.gain.setZero();
  for (QueryHead<S>& reader : group.readers) set_zero(reader);
}

// A reader that adds nothing is zero to the last bit, and so are keys and values that nobody needs [N6.5].
template <RealScalar S>
void clear_unused(CanonicalDraft<S>& draft) {
  if (draft.margins.vo_rank == 0) std::fill(draft.reader_class.begin(), draft.reader_class.end(), no_class);
  bool used = false;
  for (std::size_t i = 0; i < draft.reader_class.size(); ++i) {
    if (draft.reader_class[i] == no_class) set_zero(draft.group.readers[i]);
    used = used || draft.reader_class[i] != no_class;
  }
  if (used) return;
  set_zero(draft.group);
  draft.margins.qk_rank = 0;
  draft.margins.qk_sigma.setZero();
  for (RowVector<S>& sigma : draft.margins.qk_block_sigma) sigma.setZero();
  draft.margins.vo_sigma.setZero();
}

// The gauges with the shifts that clear the free biases, where no head was merged and both circuits have full
// rank.
template <RealScalar S>
std::optional<Gauges<S>> gauges_of(const KvGroup<S>& input, const BalancedGroup<S>& balanced,
                                   const AttentionConfig& config) {
  const std::optional<GeneralLinear<S>>& qk = balanced.scores.all.linear;
  if (!qk || !balanced.vo.linear) return std::nullopt;
  Gauges<S> gauges{{*qk, RowVector<S>::Zero(input.key.cols())},
                   {*balanced.vo.linear, RowVector<S>::Zero(input.value.cols())}};
  const std::vector<bool> free = free_key_biases(config);
  if (std::find(free.begin(), free.end(), true) != free.end()) {
    const RowVector<S> shift = -input.key_bias * gauges.first.linear.matrix().transpose();
    for (Index k = 0; k < shift.size(); ++k) {
      if (free[k]) gauges.first.shift(k) = shift(k);
    }
  }
  if (input.value_bias.size() > 0 && !carries_value_bias(config))
    gauges.second.shift = -input.value_bias * gauges.second.linear.matrix().transpose();
  return gauges;
}

// probe^T M probe' + probe^T N probe' per reader: invariant under every gauge and shift. Zeros go last.
template <RealScalar S>
void add_invariants(CanonicalDraft<S>& draft) {
  const Index d = draft.group.key.rows();
  const S last = std::numeric_limits<S>::infinity();
  const Matrix<S> probe = fixed_probe<S>(d + 1, 4, order_probe_salt);
  const RowVector<S> keys = probe.col(0).head(d).transpose() * draft.group.key;
  const RowVector<S> values = probe.col(1).head(d).transpose() * draft.group.value;
  S sum{0};
  bool used = false;
  for (std::size_t i = 0; i < draft.group.readers.size(); ++i) {
    const QueryHead<S>& reader = draft.group.readers[i];
    draft.reader_invariants.push_back(last);
    if (draft.reader_class[i] == no_class) continue;
    RowVector<S> queries = probe.col(2).head(d).transpose() * reader.query;
    if (reader.query_bias.size() > 0) queries += probe(d, 2) * reader.query_bias;
    const RowVector<S> outputs = (reader.output * probe.col(3).head(d)).transpose();
    draft.reader_invariants.back() = queries.dot(keys) + values.dot(outputs);
    sum += draft.reader_invariants.back();
    used = true;
  }
  draft.group_invariant = used ? sum : last;
}

}  // namespace

template <RealScalar S>
std::vector<CanonicalDraft<S>> draft_groups(const ReducedGroup<S>& reduced, const AttentionWeights<S>& input,
                                            const AttentionConfig& config,
                                            const HeadPrecision<S>& precision) {
  const KvGroup<S>& group = reduced.group(input);
  const BalancedGroup<S> balanced = balance_group(reduced, group, config, precision);
  const Index width = config.value_width;
  std::vector<CanonicalDraft<S>> drafts;
  for (std::size_t k = 0; k < reduced.groups.size(); ++k) {
    const Index begin = width * static_cast<Index>(k);
    CanonicalDraft<S> draft;
    draft.group = from_balanced(group, balanced, {begin, width});
    draft.margins.group_in_input = reduced.groups[k];
    draft.margins.qk_sigma = balanced.scores.all.sigma;
    draft.margins.qk_block_sigma = balanced.scores.sigma;
    draft.margins.vo_sigma = balanced.vo.sigma;
    draft.margins.qk_rank = balanced.scores.all.rank;
    draft.margins.vo_rank = std::clamp<Index>(balanced.vo.rank - begin, 0, width);
    draft.margins.qk_noise = reduced.qk_noise;
    draft.margins.vo_noise = reduced.vo_noise;
    draft.margins.qk_sign_margin = balanced.scores.all.sign_margin;
    draft.margins.vo_sign_margin = balanced.vo.sign_margin;
    draft.margins.merge_margin = reduced.merge_margin;
    draft.margins.shares_a_circuit = reduced.shares_a_circuit;
    draft.reader_class = reduced.reader_class;
    if (!reduced.merged) draft.gauges = gauges_of(group, balanced, config);
    if (config.unused_heads_are_free()) clear_unused(draft);
    add_invariants(draft);
    drafts.push_back(std::move(draft));
  }
  return drafts;
}

template std::vector<CanonicalDraft<float>> draft_groups(const ReducedGroup<float>&,
                                                         const AttentionWeights<float>&,
                                                         const AttentionConfig&, const HeadPrecision<float>&);
template std::vector<CanonicalDraft<double>> draft_groups(const ReducedGroup<double>&,
                                                          const AttentionWeights<double>&,
                                                          const AttentionConfig&,
                                                          const HeadPrecision<double>&);
template std::vector<CanonicalDraft<Float50>> draft_groups(const ReducedGroup<Float50>&,
                                                           const AttentionWeights<Float50>&,
                                                           const AttentionConfig&,
                                                           const HeadPrecision<Float50>&);

}  // namespace attnsym
