#include "symmetry/canonical_draft.hpp"

#include <algorithm>
#include <limits>

#include "symmetry/arranged_gains.hpp"
#include "symmetry/balance_scores.hpp"
#include "symmetry/circuits.hpp"
#include "symmetry/matrix_products.hpp"
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

template <RealScalar S>
void add_part(FactorParts<S>& parts, Matrix<S>& weight, RowVector<S>& bias) {
  parts.emplace_back(weight);
  if (bias.size() == 0) return;
  parts.emplace_back(
      Eigen::Map<Matrix<S>, 0, Eigen::OuterStride<>>(bias.data(), 1, bias.size(), Eigen::OuterStride<>(1)));
}

// The way for all kinds of blocks and norms.
template <RealScalar S>
BalancedScores<S> balance_stacks(const KvGroup<S>& group, const std::vector<GaugeBlock>& blocks,
                                 const AttentionConfig& config, S coincidence, S noise) {
  const Matrix<S> queries = stacked_queries(group);
  const Matrix<S> keys = counted_keys(config, blocks, group);
  if (!config.qk_norm) return balance_scores<S>(queries, keys, blocks, coincidence, noise);
  if (config.qk_norm->gains != QkGains::Temperature) return fix_signs<S>(queries, keys, blocks);
  return rotate_scores<S>(queries, keys, blocks, coincidence, noise);
}

// Balances queries and keys in place, biases included; free biases become zero.
// @param noise  Frobenius norm of what rounding may have added to the circuit
template <RealScalar S>
BalancedScores<S> balance_queries_and_keys(KvGroup<S>& group, const AttentionConfig& config, S coincidence,
                                           S noise) {
  const std::vector<GaugeBlock> blocks = gauge_blocks(config);
  if (!config.qk_norm && std::ranges::all_of(blocks, &GaugeBlock::is_pair)) {
    FactorParts<S> queries;
    FactorParts<S> keys;
    for (QueryHead<S>& reader : group.readers) add_part(queries, reader.query, reader.query_bias);
    add_part(keys, group.key, group.key_bias);  // which is not free, because all keys are turned
    return balance_pairs<S>(queries, keys, blocks, coincidence, noise);
  }
  BalancedScores<S> scores = balance_stacks(group, blocks, config, coincidence, noise);
  const Index d = group.key.rows();
  group.key = scores.all.right.topRows(d);
  group.key_bias.setZero();
  if (scores.all.right.rows() > d) group.key_bias = scores.all.right.row(d);
  for (std::size_t i = 0; i < group.readers.size(); ++i) {
    QueryHead<S>& reader = group.readers[i];
    const Index begin = (d + 1) * static_cast<Index>(i);
    reader.query = scores.all.left.middleRows(begin, d);
    if (reader.query_bias.size() > 0) reader.query_bias = scores.all.left.row(begin + d);
  }
  return scores;
}

// O O^T, summed over the readers; the lower half.
template <RealScalar S>
Matrix<S> output_products(const KvGroup<S>& group) {
  const Index width = group.value.cols();
  Matrix<S> products = Matrix<S>::Zero(width, width);
  for (const QueryHead<S>& reader : group.readers)
    products.template selfadjointView<Eigen::Lower>().rankUpdate(reader.output);
  return products;
}

// Gates go where the values do that they multiply; nothing is left of those that multiply nothing.
template <RealScalar S>
void arrange_gates(QueryHead<S>& reader, const ScaledColumns<S>& scaled) {
  const QueryHead<S> before = reader;
  for (Index k = 0; k < before.gate.cols(); ++k) {
    const Index place = scaled.order(k);
    const S kept = S(scaled.balanced.sigma(place) > S(0) ? 1 : 0);
    reader.gate.col(place) = kept * before.gate.col(k);
    if (reader.gate_bias.size() > 0) reader.gate_bias(place) = kept * before.gate_bias(k);
  }
}

template <RealScalar S>
void set_outputs(KvGroup<S>& group, const Matrix<S>& stacked) {
  const Index d = group.value.rows();
  for (std::size_t i = 0; i < group.readers.size(); ++i)
    group.readers[i].output = stacked.middleRows(d * static_cast<Index>(i), d).transpose();
}

// Balances values and outputs in place. Their width is that of all heads that were merged. A value bias goes
// with the values for want of an output bias that it could move to [N6.3].
template <RealScalar S>
Balanced<S> balance_values_and_outputs(KvGroup<S>& group, const AttentionConfig& config, S coincidence,
                                       S noise) {
  const Index d = group.value.rows();
  const Matrix<S> values =
      carries_value_bias(config) ? homogeneous(group.value, group.value_bias) : group.value;
  const Index rows = d * static_cast<Index>(group.readers.size());
  Balanced<S> balanced;
  if (config.output_gate) {
    ScaledColumns<S> scaled = scale_columns<S>(stacked_outputs(group), values, noise);
    for (QueryHead<S>& reader : group.readers) arrange_gates(reader, scaled);
    balanced = std::move(scaled.balanced);
    set_outputs(group, balanced.left);
  } else if (auto gauge = balance_by_products<S>(output_products(group), rows, values, coincidence, noise)) {
    for (QueryHead<S>& reader : group.readers)
      reader.output = multiply_tn(gauge->linear->inverse_matrix(), reader.output);
    gauge->right = multiply_nt(values, gauge->linear->matrix());
    balanced = *std::move(gauge);
  } else {
    balanced = balance<S>(stacked_outputs(group), values, coincidence, noise);
    set_outputs(group, balanced.left);
  }
  group.value_bias.setZero();
  if (balanced.right.rows() > d) group.value_bias = balanced.right.row(d);
  group.value = balanced.right.topRows(d);
  return balanced;
}

// A group with the given columns of values and outputs: as many as a head is wide. The group itself moves
// into the result where it has no others.
template <RealScalar S>
KvGroup<S> taken_columns(KvGroup<S>& group, Index begin, Index count) {
  if (group.value.cols() == count) return std::move(group);
  KvGroup<S> result = group;
  result.value = group.value.middleCols(begin, count);
  if (group.value_bias.size() > 0) result.value_bias = group.value_bias.segment(begin, count);
  for (std::size_t i = 0; i < group.readers.size(); ++i)
    result.readers[i].output = group.readers[i].output.middleRows(begin, count);
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
// @param key_bias, value_bias  of the input
template <RealScalar S>
std::optional<Gauges<S>> gauges_of(const RowVector<S>& key_bias, const RowVector<S>& value_bias,
                                   const std::optional<GeneralLinear<S>>& qk,
                                   const std::optional<GeneralLinear<S>>& vo, const AttentionConfig& config) {
  if (!qk || !vo) return std::nullopt;
  Gauges<S> gauges{{*qk, RowVector<S>::Zero(qk->size())}, {*vo, RowVector<S>::Zero(vo->size())}};
  const std::vector<bool> free = free_key_biases(config);
  if (std::find(free.begin(), free.end(), true) != free.end()) {
    const RowVector<S> shift = -multiply_nt(key_bias, gauges.first.linear.matrix());
    for (Index k = 0; k < shift.size(); ++k) {
      if (free[k]) gauges.first.shift(k) = shift(k);
    }
  }
  if (value_bias.size() > 0 && !carries_value_bias(config))
    gauges.second.shift = -multiply_nt(value_bias, gauges.second.linear.matrix());
  return gauges;
}

// probe^T M probe' + probe^T N probe' per reader: invariant under every gauge and shift. Zeros go last.
template <RealScalar S>
void add_invariants(CanonicalDraft<S>& draft) {
  const Index d = draft.group.key.rows();
  const S last = std::numeric_limits<S>::infinity();
  const Matrix<S> probe = fixed_probe<S>(d + 1, 4, order_probe_salt);
  const RowVector<S> keys = multiply_tn(probe.col(0).head(d), draft.group.key);
  const RowVector<S> values = multiply_tn(probe.col(1).head(d), draft.group.value);
  S sum{0};
  bool used = false;
  for (std::size_t i = 0; i < draft.group.readers.size(); ++i) {
    const QueryHead<S>& reader = draft.group.readers[i];
    draft.reader_invariants.push_back(last);
    if (draft.reader_class[i] == no_class) continue;
    RowVector<S> queries = multiply_tn(probe.col(2).head(d), reader.query);
    if (reader.query_bias.size() > 0) queries += probe(d, 2) * reader.query_bias;
    const RowVector<S> outputs = multiply(reader.output, probe.col(3).head(d)).transpose();
    draft.reader_invariants.back() = queries.dot(keys) + values.dot(outputs);
    sum += draft.reader_invariants.back();
    used = true;
  }
  draft.group_invariant = used ? sum : last;
}

}  // namespace

template <RealScalar S>
std::vector<CanonicalDraft<S>> draft_groups(ReducedGroup<S>& reduced, AttentionWeights<S>& input,
                                            const AttentionConfig& config,
                                            const HeadPrecision<S>& precision) {
  KvGroup<S> group = std::move(reduced.group(input));
  const RowVector<S> key_bias = group.key_bias;
  const RowVector<S> value_bias = group.value_bias;
  const BalancedScores<S> scores =
      balance_queries_and_keys<S>(group, config, precision.unit, precision.slack * reduced.qk_noise);
  const Balanced<S> vo =
      balance_values_and_outputs<S>(group, config, precision.unit, precision.slack * reduced.vo_noise);
  const Index width = config.value_width;
  std::vector<CanonicalDraft<S>> drafts;
  for (std::size_t k = 0; k < reduced.groups.size(); ++k) {
    const Index begin = width * static_cast<Index>(k);
    CanonicalDraft<S> draft;
    draft.group = taken_columns(group, begin, width);
    draft.margins.group_in_input = reduced.groups[k];
    draft.margins.qk_sigma = scores.all.sigma;
    draft.margins.qk_block_sigma = scores.sigma;
    draft.margins.vo_sigma = vo.sigma;
    draft.margins.qk_rank = scores.all.rank;
    draft.margins.vo_rank = std::clamp<Index>(vo.rank - begin, 0, width);
    draft.margins.qk_noise = reduced.qk_noise;
    draft.margins.vo_noise = reduced.vo_noise;
    draft.margins.qk_sign_margin = scores.all.sign_margin;
    draft.margins.vo_sign_margin = vo.sign_margin;
    draft.margins.merge_margin = reduced.merge_margin;
    draft.margins.shares_a_circuit = reduced.shares_a_circuit;
    draft.reader_class = reduced.reader_class;
    if (!reduced.merged) draft.gauges = gauges_of(key_bias, value_bias, scores.all.linear, vo.linear, config);
    if (config.unused_heads_are_free()) clear_unused(draft);
    add_invariants(draft);
    drafts.push_back(std::move(draft));
  }
  return drafts;
}

template std::vector<CanonicalDraft<float>> draft_groups(ReducedGroup<float>&, AttentionWeights<float>&,
                                                         const AttentionConfig&, const HeadPrecision<float>&);
template std::vector<CanonicalDraft<double>> draft_groups(ReducedGroup<double>&, AttentionWeights<double>&,
                                                          const AttentionConfig&,
                                                          const HeadPrecision<double>&);
template std::vector<CanonicalDraft<Float50>> draft_groups(ReducedGroup<Float50>&, AttentionWeights<Float50>&,
                                                           const AttentionConfig&,
                                                           const HeadPrecision<Float50>&);

}  // namespace attnsym
