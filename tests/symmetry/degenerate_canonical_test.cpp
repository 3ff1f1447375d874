// N6.5: modules that compute the same although no group element leads from one to the other have one
// canonical form.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "symmetry/canonical.hpp"
#include "symmetry/circuits.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"
#include "verify/testing/closeness.hpp"

namespace attnsym {
namespace {

using testing::close;
using testing::random_weights;

constexpr Index dk = 4;
constexpr Index dv = 3;

AttentionConfig config_of(Index heads, Index groups, bool biases = true) {
  AttentionConfig c{16, heads, groups, dk, dv};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = biases;
  c.scale = 0.5;
  return c;
}

template <class S>
Matrix<S> draw(Index rows, Index cols, Random& random) {
  Matrix<S> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = S(random.uniform());
  return m;
}

// Two modules of equal function, not in one orbit.
template <class S>
struct Twins {
  AttentionConfig config;
  AttentionWeights<S> one;
  AttentionWeights<S> other;
};

// Another head with the QK circuit of the first.
template <class S>
void share_circuit(const KvGroup<S>& first, KvGroup<S>& second) {
  second.key = first.key;
  second.readers[0].query = first.readers[0].query;
  second.readers[0].query_bias = first.readers[0].query_bias;
}

// [V_1 .. V_m] [O_1; ..; O_m] of these heads with an invertible matrix put in between: values and outputs mix
// across heads. Biases of the values go along, so that the constant stays.
template <class S>
void mix_values(AttentionWeights<S>& w, const std::vector<Index>& heads, Random& random) {
  const Index n = dv * static_cast<Index>(heads.size());
  const Matrix<S> change = Matrix<S>::Identity(n, n) + S(0.1) * draw<S>(n, n, random);
  const GeneralLinear<S> mix = GeneralLinear<S>::from_matrix(change);
  Matrix<S> values(w.output_bias.size() + 1, n);
  Matrix<S> outputs(n, w.output_bias.size());
  for (std::size_t k = 0; k < heads.size(); ++k) {
    const KvGroup<S>& group = w.groups[heads[k]];
    values.middleCols(dv * k, dv) = homogeneous(group.value, group.value_bias);
    outputs.middleRows(dv * k, dv) = group.readers[0].output;
  }
  values = (values * mix.matrix()).eval();
  outputs = (mix.inverse_matrix() * outputs).eval();
  for (std::size_t k = 0; k < heads.size(); ++k) {
    KvGroup<S>& group = w.groups[heads[k]];
    group.value = values.topRows(values.rows() - 1).middleCols(dv * k, dv);
    group.value_bias = values.bottomRows(1).middleCols(dv * k, dv);
    group.readers[0].output = outputs.middleRows(dv * k, dv);
  }
}

// The heads fall into classes of one QK circuit each; within a class values and outputs are split in two
// ways.
template <class S>
Twins<S> coincident_heads(std::uint64_t seed) {
  const AttentionConfig c = config_of(5, 5);
  AttentionWeights<S> w = random_weights<S>(c, seed);
  Random random(seed);
  std::vector<std::vector<Index>> classes(2);
  for (Index head = 0; head < c.heads; ++head) classes[head < 2 ? 0 : random.below(2)].push_back(head);
  for (const auto& heads : classes) {
    for (const Index head : heads) share_circuit(w.groups[heads.front()], w.groups[head]);
  }
  AttentionWeights<S> other = w;
  for (const auto& heads : classes) {
    if (!heads.empty()) mix_values(other, heads, random);
  }
  return {c, w, other};
}

// Two heads that cancel, in one module; in the other one they do nothing in another way.
template <class S>
Twins<S> cancelling_heads(std::uint64_t seed) {
  const AttentionConfig c = config_of(4, 4);
  AttentionWeights<S> w = random_weights<S>(c, seed);
  share_circuit(w.groups[1], w.groups[3]);
  w.groups[3].value = w.groups[1].value;
  w.groups[3].value_bias = w.groups[1].value_bias;
  w.groups[3].readers[0].output = -w.groups[1].readers[0].output;
  AttentionWeights<S> other = random_weights<S>(c, seed + 100);
  other.output_bias = w.output_bias;
  for (const Index head : {0, 2}) other.groups[head] = w.groups[head];
  other.groups[1].value.setZero();
  other.groups[1].value_bias.setZero();
  other.groups[3].readers[0].output.setZero();
  return {c, w, other};
}

// One head's values and outputs in one place, or dealt out to two.
template <class S>
Twins<S> split_head(std::uint64_t seed) {
  const AttentionConfig c = config_of(3, 3);
  AttentionWeights<S> w = random_weights<S>(c, seed);
  AttentionWeights<S> other = w;
  w.groups[2].value.setZero();
  w.groups[2].value_bias.setZero();
  share_circuit(other.groups[0], other.groups[2]);
  for (const auto& [head, column] : {std::pair(2, 0), std::pair(0, 1), std::pair(0, 2)}) {
    KvGroup<S>& group = other.groups[head];
    group.value.col(column).setZero();
    group.value_bias(column) = S(0);
  }
  other.groups[2].value.col(1) = w.groups[0].value.col(1);
  other.groups[2].value.col(2) = w.groups[0].value.col(2);
  other.groups[2].value_bias.tail(2) = w.groups[0].value_bias.tail(2);
  other.groups[2].readers[0].output = w.groups[0].readers[0].output;
  return {c, w, other};
}

// A QK circuit of rank 2 whose factors have ranks 2 and 4, or 4 and 2, and one of rank 0.
template <class S>
Twins<S> deficient_circuits(std::uint64_t seed) {
  const AttentionConfig c = config_of(3, 3);
  AttentionWeights<S> w = random_weights<S>(c, seed);
  AttentionWeights<S> other = w;
  Matrix<S> narrow = Matrix<S>::Zero(dk, dk);
  narrow(0, 0) = narrow(0, 2) = narrow(1, 1) = S(1);
  w.groups[0].key = (w.groups[0].key * narrow).eval();
  QueryHead<S>& reader = other.groups[0].readers[0];
  reader.query = (reader.query * narrow.transpose()).eval();
  reader.query_bias = (reader.query_bias * narrow.transpose()).eval();
  w.groups[1].key.setZero();
  other.groups[1].readers[0].query.setZero();
  other.groups[1].readers[0].query_bias.setZero();
  return {c, w, other};
}

// Readers of one group with one circuit, their outputs shared out in two ways; and one that does nothing.
template <class S>
Twins<S> coincident_readers(std::uint64_t seed, Index groups) {
  const AttentionConfig c = config_of(4 * groups, groups);
  AttentionWeights<S> w = random_weights<S>(c, seed);
  Random random(seed);
  auto& readers = w.groups[groups - 1].readers;
  readers[3].query = readers[1].query;
  readers[3].query_bias = readers[1].query_bias;
  readers[0].output.setZero();
  AttentionWeights<S> other = w;
  auto& others = other.groups[groups - 1].readers;
  const Matrix<S> moved = draw<S>(dv, c.model_width, random);
  others[1].output += moved;
  others[3].output -= moved;
  others[0].query = draw<S>(c.model_width, dk, random);
  return {c, w, other};
}

template <class S>
std::vector<Twins<S>> all_twins(std::uint64_t seed) {
  return {coincident_heads<S>(seed),   cancelling_heads<S>(seed),      split_head<S>(seed),
          deficient_circuits<S>(seed), coincident_readers<S>(seed, 1), coincident_readers<S>(seed, 2)};
}

template <class S>
Matrix<S> outputs_on_five_tokens(const AttentionConfig& c, const AttentionWeights<S>& w) {
  return attend<S>(c, w, fixed_probe<S>(5, c.model_width, 77));
}

template <class S>
class DegenerateForm : public ::testing::Test {};
using RealScalars = ::testing::Types<double, Float50>;
TYPED_TEST_SUITE(DegenerateForm, RealScalars);

// Clear of rounding that the sizes of the gaps magnify.
constexpr double slack = 1e4;

TYPED_TEST(DegenerateForm, IsOneForEqualFunctions) {
  using S = TypeParam;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    std::size_t family = 0;
    for (const Twins<S>& twins : all_twins<S>(seed)) {
      Random random(seed);
      const auto element = symmetry_of(twins.config).template sample<S>(random);
      const auto one = canonicalize(twins.one, twins.config).weights;
      const auto other = canonicalize(act(element, twins.other), twins.config).weights;
      EXPECT_TRUE(close(one, other, slack)) << "family " << family << ", seed " << seed;
      ++family;
    }
  }
}

TYPED_TEST(DegenerateForm, KeepsTheFunction) {
  using S = TypeParam;
  for (const Twins<S>& twins : all_twins<S>(9)) {
    for (const auto& w : {twins.one, twins.other}) {
      const auto canonical = canonicalize(w, twins.config);
      EXPECT_FALSE(canonical.canonical_from_input.has_value());
      EXPECT_TRUE(is_close(outputs_on_five_tokens(twins.config, w),
                           outputs_on_five_tokens(twins.config, canonical.weights), 100));
    }
  }
}

TYPED_TEST(DegenerateForm, IsIdempotent) {
  using S = TypeParam;
  for (const Twins<S>& twins : all_twins<S>(5)) {
    const auto once = canonicalize(twins.one, twins.config).weights;
    EXPECT_TRUE(close(once, canonicalize(once, twins.config).weights, slack));
  }
}

// The twins do differ as stored, and so do canonical forms of different functions.
TYPED_TEST(DegenerateForm, DiffersWhereTheFunctionDoes) {
  using S = TypeParam;
  for (Twins<S>& twins : all_twins<S>(6)) {
    EXPECT_FALSE(close(twins.one, twins.other, slack));
    EXPECT_TRUE(is_close(outputs_on_five_tokens(twins.config, twins.one),
                         outputs_on_five_tokens(twins.config, twins.other), 100));
    const auto before = canonicalize(twins.one, twins.config).weights;
    for (auto& reader : twins.one.groups[0].readers) reader.output(0, 0) += S(0.01);
    EXPECT_FALSE(close(before, canonicalize(twins.one, twins.config).weights, slack));
  }
}

TEST(DegenerateLayout, DealsOutSingularValuesInDecreasingOrder) {
  const Twins<double> twins = coincident_heads<double>(3);
  const auto canonical = canonicalize(twins.one, twins.config);
  std::size_t merged = 0;
  for (const HeadClass& heads : canonical.classes) {
    std::vector<const KvGroup<double>*> parts;
    for (const Index head : heads.b) parts.push_back(&canonical.weights.groups[head]);
    std::sort(parts.begin(), parts.end(),
              [](const auto* a, const auto* b) { return a->value.norm() > b->value.norm(); });
    for (std::size_t k = 1; k < parts.size(); ++k) {
      EXPECT_EQ(parts[k]->key, parts[0]->key);
      EXPECT_LT(parts[k]->value.col(0).norm(), parts[k - 1]->value.col(dv - 1).norm());
      ++merged;
    }
  }
  EXPECT_EQ(merged, 3U) << "five heads in two classes";
}

TEST(DegenerateLayout, PutsZerosLast) {
  const Twins<double> twins = cancelling_heads<double>(3);
  for (const auto& w : {twins.one, twins.other}) {
    const auto canonical = canonicalize(w, twins.config);
    for (const Index head : {2, 3}) {
      const KvGroup<double>& group = canonical.weights.groups[head];
      for (const double norm : {group.key.norm(), group.value.norm(), group.readers[0].query.norm(),
                                group.readers[0].query_bias.norm(), group.readers[0].output.norm()})
        EXPECT_EQ(norm, 0);
      EXPECT_EQ(canonical.margins[head].order_margin, std::numeric_limits<double>::infinity());
    }
    EXPECT_GT(canonical.margins[0].order_margin, 0);
  }
}

TEST(DegenerateLayout, NamesTheHeadsThatWereMerged) {
  const auto merged = canonicalize(cancelling_heads<double>(3).one, config_of(4, 4)).classes;
  EXPECT_EQ(merged[1].a, (std::vector<Index>{1, 3}));
  EXPECT_TRUE(merged[1].b.empty());
  EXPECT_EQ(merged.back(), (HeadClass{{}, {2, 3}}));
  const auto plain = canonicalize(random_weights<double>(config_of(3, 3), 1), config_of(3, 3));
  EXPECT_TRUE(plain.canonical_from_input.has_value());
  const Permutation image = head_image(*plain.canonical_from_input);
  for (Index head = 0; head < 3; ++head) EXPECT_EQ(plain.classes[head], (HeadClass{{head}, {image(head)}}));
}

// A value bias without an output bias stays with the values, also of merged heads.
TEST(DegenerateLayout, KeepsAValueBiasThatHasNowhereToGo) {
  AttentionConfig c = config_of(4, 4);
  c.output_bias = false;
  auto w = random_weights<double>(c, 4);
  w.output_bias.resize(0);
  share_circuit(w.groups[0], w.groups[2]);
  w.groups[1].value.setZero();  // the head adds a constant, which counts
  const auto canonical = canonicalize(w, c);
  EXPECT_TRUE(is_close(outputs_on_five_tokens(c, w), outputs_on_five_tokens(c, canonical.weights), 10));
  w.groups[1].value_bias.setZero();
  const auto cleared = canonicalize(w, c);
  EXPECT_TRUE(is_close(outputs_on_five_tokens(c, w), outputs_on_five_tokens(c, cleared.weights), 10));
  EXPECT_EQ(cleared.weights.groups[3].key.norm(), 0);
}

// Groups share their keys: heads of different groups stay apart, and the margins say so.
TEST(DegenerateLayout, TellsWhereGroupsShareACircuit) {
  const AttentionConfig c = config_of(4, 2);
  auto w = random_weights<double>(c, 3);
  for (const auto& margin : canonicalize(w, c).margins) EXPECT_FALSE(margin.shares_a_circuit);
  w.groups[1].key = w.groups[0].key;
  w.groups[1].readers[1].query = w.groups[0].readers[0].query;
  w.groups[1].readers[1].query_bias = w.groups[0].readers[0].query_bias;
  const auto canonical = canonicalize(w, c);
  EXPECT_TRUE(is_close(outputs_on_five_tokens(c, w), outputs_on_five_tokens(c, canonical.weights), 10));
  for (const auto& margin : canonical.margins) EXPECT_TRUE(margin.shares_a_circuit);
  w.groups[1].readers[1].output.setZero();
  for (const auto& margin : canonicalize(w, c).margins) EXPECT_FALSE(margin.shares_a_circuit);
}

// Files in F32: gauges and mixing in double, stored numbers rounded.
TEST(RoundedDegenerateForm, IsOneForEqualFunctions) {
  using testing::f32;
  std::size_t family = 0;
  for (const Twins<double>& twins : all_twins<double>(2)) {
    Random random(3);
    const AttentionConfig& c = twins.config;
    const auto moved = act(symmetry_of(c).sample<double>(random), twins.other);
    const StoredAttention a = testing::stored(c, twins.one, f32);
    const StoredAttention b = testing::stored(c, moved, f32);
    const auto one = canonicalize(a.weights, c, f32);
    const auto other = canonicalize(b.weights, c, f32);
    EXPECT_TRUE(close(one.weights, other.weights, 1e8)) << "family " << family;
    for (std::size_t j = 0; j < one.margins.size(); ++j) {
      EXPECT_EQ(one.margins[j].qk_rank, other.margins[j].qk_rank);
      EXPECT_EQ(one.margins[j].vo_rank, other.margins[j].vo_rank);
    }
    ++family;
  }
}

// Two heads that differ by more than rounding are two heads.
TEST(RoundedDegenerateForm, KeepsHeadsApartThatDiffer) {
  const AttentionConfig c = config_of(2, 2);
  auto w = random_weights<double>(c, 3);
  share_circuit(w.groups[0], w.groups[1]);
  const double unit = testing::f32;
  for (const double size : {0.1, 100.0}) {
    auto edited = w;
    edited.groups[1].key += size * unit * fixed_probe<double>(c.model_width, dk, 5);
    const auto canonical = canonicalize(edited, c, unit);
    EXPECT_EQ(canonical.canonical_from_input.has_value(), size > 1);
    if (size < 1) continue;
    EXPECT_GT(canonical.margins[0].merge_margin, size / 10);
    EXPECT_LT(canonical.margins[0].merge_margin, size * 10);
  }
}

}  // namespace
}  // namespace attnsym
