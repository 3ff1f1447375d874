// Pairs of modules with known truth, one row each: what check answers, either way round, and that its
// evidence holds before the checker.
#include <gtest/gtest.h>

#include <functional>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/decide.hpp"
#include "verify/rounding.hpp"
#include "verify/stored_circuit.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f16;
using testing::f32;
using testing::random_weights;
using testing::stored;

using Weights = AttentionWeights<double>;
using Pair = std::pair<StoredAttention, StoredAttention>;

AttentionConfig config_of(Index heads, Index groups, bool biases = true) {
  AttentionConfig c{24, heads, groups, 6, 6};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = biases;
  c.scale = 0.5;
  return c;
}

AttentionConfig narrow(Index width, Index heads, Index key_width, Index value_width) {
  AttentionConfig c{width, heads, heads, key_width, value_width};
  c.query_bias = c.output_bias = true;
  return c;
}

const AttentionConfig mha = config_of(4, 4);
const AttentionConfig gqa = config_of(4, 2);

Weights draw(const AttentionConfig& c, std::uint64_t seed = 1) { return random_weights<double>(c, seed); }

AttentionElement<double> element(const AttentionConfig& c, const SampleOptions& options = {}) {
  Random random(5);
  return symmetry_of(c).sample<double>(random, options);
}

SampleOptions with(bool heads, bool gauges, bool monomial = false) {
  SampleOptions options;
  options.heads = options.readers = heads;
  options.qk = options.vo = gauges;
  options.bias = gauges && !monomial;
  options.monomial = monomial;
  return options;
}

// A module and its image under an element.
Pair moved(const AttentionConfig& c, const SampleOptions& options, double unit_a = f32, double unit_b = f32) {
  const StoredAttention a = stored(c, draw(c), unit_a);
  return {a, stored(c, act(element(c, options), a.weights), unit_b)};
}

// A module, made what the case is about, and an edited one.
using Edit = std::function<void(Weights&)>;

Pair edited(const AttentionConfig& c, const Edit& common, const Edit& edit, double unit = f32) {
  Weights a = draw(c);
  common(a);
  const StoredAttention from = stored(c, a, unit);
  Weights b = from.weights;
  edit(b);
  return {from, stored(c, b, unit)};
}

Pair edited(const AttentionConfig& c, const Edit& edit) {
  return edited(
      c, [](Weights&) {}, edit);
}

void set_zero(KvGroup<double>& group) {
  group.value.setZero();
  group.value_bias.setZero();
}

// Head 1 gets the QK circuit of head 0 and its values, so that only the sum of the outputs counts.
void make_coincident(Weights& w) {
  const RowVector<double> value_bias = w.groups[0].value_bias;
  const Matrix<double> output = w.groups[1].readers[0].output;
  w.groups[1] = w.groups[0];
  w.groups[1].readers[0].output = output;
}

Edit mix_outputs(double undone) {
  return [undone](Weights& w) {
    const Matrix<double> part = 0.25 * w.groups[0].readers[0].output;
    w.groups[0].readers[0].output -= part;
    w.groups[1].readers[0].output += undone * part;
  };
}

// Two heads whose QK circuits differ by `size` times the resolution, against the same with the outputs mixed.
Pair near_duplicates(double size) {
  const auto nearly = [size](Weights& w) {
    make_coincident(w);
    const StoredAttention module = stored(mha, w, f16);
    const CircuitComparison self = compare(stored_qk_circuit(module, 0), stored_qk_circuit(module, 1));
    w.groups[1].key += size * self.resolution * w.groups[1].key.norm() / std::sqrt(24 * 6.0) *
                       fixed_probe<double>(24, 6, 3) * std::sqrt(3.0);
  };
  return edited(mha, nearly, mix_outputs(1), f16);
}

// Every reader of a grouped module with a copy of its group.
Pair written_out(
    const AttentionConfig& grouped, const Edit& edit = [](Weights&) {}) {
  const Weights a = draw(grouped);
  AttentionConfig full = grouped;
  full.groups = full.heads;
  Weights b{{}, a.output_bias};
  for (const KvGroup<double>& group : a.groups) {
    for (const QueryHead<double>& reader : group.readers) {
      b.groups.push_back(group);
      b.groups.back().readers = {reader};
    }
  }
  edit(b);
  return {stored(grouped, a, f32), stored(full, b, f32)};
}

template <class M>
M padded(const M& m, Index rows, Index cols) {
  M result = M::Zero(rows, cols);
  result.topLeftCorner(m.rows(), m.cols()) = m;
  return result;
}

Pair padded_heads() {
  AttentionConfig wide = mha;
  wide.key_width = 9;
  wide.value_width = 8;
  Weights b = draw(mha);
  for (KvGroup<double>& group : b.groups) {
    group.key = padded(group.key, 24, 9);
    group.value = padded(group.value, 24, 8);
    group.key_bias = padded(group.key_bias, 1, 9);
    group.value_bias = padded(group.value_bias, 1, 8);
    group.readers[0].query = padded(group.readers[0].query, 24, 9);
    group.readers[0].query_bias = padded(group.readers[0].query_bias, 1, 9);
    group.readers[0].output = padded(group.readers[0].output, 8, 24);
  }
  return {stored(mha, draw(mha), f32), stored(wide, b, f32)};
}

Pair zero_head_more() {
  const AttentionConfig five = config_of(5, 5);
  Weights b = draw(mha);
  b.groups.push_back(draw(five, 9).groups[4]);
  set_zero(b.groups.back());
  return {stored(mha, draw(mha), f32), stored(five, b, f32)};
}

// Every head as two: the first and the last three columns of V with the rows of O that belong to them.
Pair split_heads() {
  AttentionConfig split = config_of(8, 8);
  split.value_width = 3;
  const Weights a = draw(mha);
  Weights b{{}, a.output_bias};
  for (const KvGroup<double>& group : a.groups) {
    for (const Index begin : {0, 3}) {
      KvGroup<double> part = group;
      part.value = group.value.middleCols(begin, 3);
      part.value_bias = group.value_bias.segment(begin, 3);
      part.readers[0].output = group.readers[0].output.middleRows(begin, 3);
      b.groups.push_back(std::move(part));
    }
  }
  return {stored(mha, a, f32), stored(split, b, f32)};
}

Pair other_scale(double factor) {
  AttentionConfig c = mha;
  c.scale *= 2;
  Weights b = draw(mha);
  for (KvGroup<double>& group : b.groups) {
    group.readers[0].query *= factor;
    group.readers[0].query_bias *= factor;
  }
  return {stored(mha, draw(mha), f32), stored(c, b, f32)};
}

// (M, N) and (0, 0) against (-M, -N) and (0, 2N): equal on sequences of length 1 and 2 [N3].
Pair length_two_trap() {
  const AttentionConfig two = config_of(2, 2, false);
  return edited(
      two, [](Weights& w) { w.groups[1].readers[0].output.setZero(); },
      [](Weights& w) {
        w.groups[1] = w.groups[0];
        w.groups[0].readers[0].query *= -1;
        w.groups[0].readers[0].output *= -1;
        w.groups[1].key.setZero();
        w.groups[1].readers[0].output *= 2;
      });
}

Pair masks(bool dead) {
  Weights w = draw(mha);
  if (dead) {
    for (KvGroup<double>& group : w.groups) set_zero(group);
  }
  AttentionConfig causal = mha;
  causal.causal = true;
  return {stored(mha, w, f32), stored(causal, w, f32)};
}

Pair without_biases() {
  const StoredAttention a = stored(config_of(4, 4, false), draw(config_of(4, 4, false)), f32);
  return {a, with_all_biases(a)};
}

// Readers change places between two groups with equal keys and values: no element of the wreath product.
Pair readers_across_groups(bool equal_groups) {
  const auto common = [equal_groups](Weights& w) {
    if (!equal_groups) return;
    const auto readers = w.groups[1].readers;
    w.groups[1] = w.groups[0];
    w.groups[1].readers = readers;
  };
  return edited(gqa, common, [](Weights& w) { std::swap(w.groups[0].readers[0], w.groups[1].readers[1]); });
}

Pair sized(double size) {
  const AttentionConfig c = config_of(4, 4, false);
  Weights w = draw(c);
  for_each_slot(w, [size](auto& slot) { slot *= size; });
  const StoredAttention a = stored(c, w, f32);
  return {a, stored(c, act(element(c), a.weights), f32)};
}

// Query and key of head 0, and of head 1, trade places; the first is square, so that it can be transposed.
Pair transposed_key() {
  AttentionConfig c{6, 2, 2, 6, 6};
  c.scale = 0.5;
  return edited(c, [](Weights& w) { w.groups[0].key.transposeInPlace(); });
}

struct Row {
  const char* name;
  Pair pair;
  std::string verdict;  // what is right; "a|b" where both are
};

std::vector<Row> table() {
  const SampleOptions coarse = [] {
    SampleOptions options;
    options.condition = 1000;
    return options;
  }();
  return {
      {"itself", edited(mha, [](Weights&) {}), "identical"},
      {"heads permuted", moved(mha, with(true, false)), "identical"},
      {"groups and readers permuted", moved(gqa, with(true, false)), "identical"},
      {"signs and powers of two", moved(gqa, with(true, true, true)), "identical"},
      {"absent biases against zero biases", without_biases(), "identical"},
      {"every gauge, F32", moved(mha, with(true, true)), "equivalent"},
      {"every gauge, F16", moved(gqa, with(true, true), f16, f16), "equivalent"},
      {"every gauge, F32 to F16", moved(mha, with(true, true), f32, f16), "equivalent"},
      {"gauges of condition 1000 in BF16", moved(mha, coarse, f32, bf16), "undecided"},
      {"K bias shifted", edited(mha, [](Weights& w) { w.groups[1].key_bias.array() += 0.5; }), "equivalent"},
      {"V bias moved into the output bias",
       edited(mha,
              [](Weights& w) {
                w.output_bias += w.groups[2].value_bias * w.groups[2].readers[0].output;
                w.groups[2].value_bias.setZero();
              }),
       "equivalent"},
      {"V bias dropped", edited(mha, [](Weights& w) { w.groups[2].value_bias.setZero(); }), "distinct"},
      {"output bias edited", edited(mha, [](Weights& w) { w.output_bias(3) += 0.01; }), "distinct"},
      {"coincident heads, outputs mixed", edited(mha, make_coincident, mix_outputs(1)), "equivalent"},
      {"coincident heads, outputs mixed wrongly", edited(mha, make_coincident, mix_outputs(0.99)),
       "distinct"},
      {"coincident only up to a gauge, outputs mixed",
       edited(
           mha,
           [](Weights& w) {
             make_coincident(w);
             w.groups[1].key *= 2;
             w.groups[1].readers[0].query /= 2;
             w.groups[1].readers[0].query_bias /= 2;
           },
           mix_outputs(1)),
       "equivalent"},
      {"dead output, other queries and keys",
       edited(
           mha, [](Weights& w) { w.groups[1].readers[0].output.setZero(); },
           [](Weights& w) { w.groups[1].key = fixed_probe<double>(24, 6, 77); }),
       "equivalent"},
      {"dead values, other queries and keys",
       edited(
           mha, [](Weights& w) { set_zero(w.groups[1]); },
           [](Weights& w) { w.groups[1].readers[0].query = fixed_probe<double>(24, 6, 77); }),
       "equivalent"},
      {"two heads that cancel, with other queries",
       edited(
           mha,
           [](Weights& w) {
             make_coincident(w);
             w.groups[1].readers[0].output = -w.groups[0].readers[0].output;
           },
           [](Weights& w) {
             w.groups[0].readers[0].query = fixed_probe<double>(24, 6, 77);
             w.groups[1].readers[0].query = w.groups[0].readers[0].query;
           }),
       "equivalent"},
      {"two heads that cancel to 99 %, with other queries",
       edited(
           mha,
           [](Weights& w) {
             make_coincident(w);
             w.groups[1].readers[0].output = -0.99 * w.groups[0].readers[0].output;
           },
           [](Weights& w) {
             w.groups[0].readers[0].query = fixed_probe<double>(24, 6, 77);
             w.groups[1].readers[0].query = w.groups[0].readers[0].query;
           }),
       "distinct"},
      {"rank-deficient keys, queries free there",
       edited(
           mha, [](Weights& w) { w.groups[1].key.col(2).setZero(); },
           [](Weights& w) { w.groups[1].readers[0].query.col(2).setConstant(0.3); }),
       "equivalent"},
      {"rank-deficient values, outputs free there",
       edited(
           mha,
           [](Weights& w) {
             w.groups[1].value.col(2).setZero();
             w.groups[1].value_bias(2) = 0;
           },
           [](Weights& w) { w.groups[1].readers[0].output.row(2).setConstant(0.3); }),
       "equivalent"},
      {"no queries, any keys",
       edited(
           mha,
           [](Weights& w) {
             w.groups[1].readers[0].query.setZero();
             w.groups[1].readers[0].query_bias.setZero();
           },
           [](Weights& w) { w.groups[1].key = fixed_probe<double>(24, 6, 77); }),
       "equivalent"},
      {"(M, N) against (-M, -N), (0, 2N)", length_two_trap(), "distinct"},
      {"groups written out", written_out(gqa), "equivalent"},
      {"one group written out", written_out(config_of(3, 1)), "equivalent"},
      {"groups written out, one copy edited",
       written_out(gqa, [](Weights& w) { w.groups[1].key(3, 1) += 0.01; }), "distinct"},
      {"heads padded with zeros", padded_heads(), "equivalent"},
      {"a zero head more", zero_head_more(), "equivalent"},
      {"heads split in two", split_heads(), "equivalent"},
      {"scale folded into Q", other_scale(0.5), "equivalent"},
      {"scale doubled", other_scale(1), "distinct"},
      {"readers exchanged between equal groups", readers_across_groups(true), "equivalent"},
      {"readers exchanged between groups", readers_across_groups(false), "distinct"},
      {"V and O re-paired",
       edited(mha,
              [](Weights& w) {
                std::swap(w.groups[0].value, w.groups[1].value);
                std::swap(w.groups[0].readers[0].output, w.groups[1].readers[0].output);
              }),
       "distinct"},
      {"Q and K swapped",
       edited(mha, [](Weights& w) { std::swap(w.groups[0].key, w.groups[0].readers[0].query); }), "distinct"},
      {"K transposed", transposed_key(), "distinct"},
      {"Q negated", edited(mha, [](Weights& w) { w.groups[0].readers[0].query *= -1; }), "distinct"},
      {"one query weight by 1 %",
       edited(mha, [](Weights& w) { w.groups[2].readers[0].query(3, 1) += 0.006; }), "distinct"},
      {"one value weight by 1 %", edited(mha, [](Weights& w) { w.groups[2].value(3, 1) += 0.006; }),
       "distinct"},
      {"causal against full", masks(false), "distinct"},
      {"causal against full, all heads dead", masks(true), "equivalent"},
      {"other weights", {stored(mha, draw(mha, 1), f32), stored(mha, draw(mha, 2), f32)}, "distinct"},
      {"other shape and weights",
       {stored(mha, draw(mha, 1), f32), stored(gqa, draw(gqa, 2), f32)},
       "distinct"},
      {"h = 1, dk = 1", moved(narrow(5, 1, 1, 2), with(true, true)), "equivalent"},
      {"dv > D", moved(narrow(4, 2, 2, 7), with(true, true)), "equivalent"},
      {"dk > D", moved(narrow(3, 2, 5, 2), with(true, true)), "equivalent"},
      {"D = 1", moved(narrow(1, 2, 1, 1), with(true, true)), "identical"},
      {"D = 1, other weights",
       {stored(narrow(1, 2, 1, 1), draw(narrow(1, 2, 1, 1), 1), f32),
        stored(narrow(1, 2, 1, 1), draw(narrow(1, 2, 1, 1), 2), f32)},
       "distinct"},
      {"near-duplicates at 0.3 of the resolution", near_duplicates(0.3), "equivalent"},
      {"near-duplicates at the resolution", near_duplicates(1), "equivalent|undecided"},
      {"near-duplicates at 3 times the resolution", near_duplicates(3), "undecided|distinct"},
      {"near-duplicates at 10 times the resolution", near_duplicates(10), "undecided|distinct"},
      {"weights of 1e160", sized(1e160), "equivalent"},
      {"weights of 1e-170", sized(1e-170), "equivalent"},
  };
}

// A witness has to convince an evaluation of our own, at 50 digits.
void expect_genuine(const Witness& witness, const StoredAttention& a, const StoredAttention& b) {
  const Matrix<Float50> input = witness.input.cast<Float50>();
  const auto output = [&](const StoredAttention& m) {
    return attend(m.config, cast<Float50>(m.weights), input);
  };
  const Float50 gap = (output(a) - output(b)).norm();
  EXPECT_LE(witness.gap_at_least, gap);
  EXPECT_LT(witness.apart_at_least, gap);
  EXPECT_EQ(refute_witness(a, b, witness.input), std::nullopt);
}

void expect_evidence_holds(const Decision& decision, const StoredAttention& a, const StoredAttention& b) {
  if (const auto* identical = std::get_if<Identical>(&decision.verdict)) {
    EXPECT_EQ(refute_identity(a, b, identical->b_from_a), std::nullopt);
  } else if (const auto* equivalent = std::get_if<Equivalent>(&decision.verdict)) {
    const CheckedEquivalence checked = check_equivalence(a, b, equivalent->evidence);
    EXPECT_EQ(checked.refutation, std::nullopt);
    EXPECT_LE(checked.resolution, coarsest_resolution);
  } else if (const auto* distinct = std::get_if<Distinct>(&decision.verdict)) {
    expect_genuine(distinct->witness, a, b);
  }
}

std::string reason_of(const Decision& decision) {
  const auto* undecided = std::get_if<Undecided>(&decision.verdict);
  return undecided == nullptr ? "" : undecided->reason;
}

TEST(CaseTable, EveryRowIsRight) {
  const std::vector<Row> rows = table();
  EXPECT_GE(rows.size(), 40U);
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    for (const bool swapped : {false, true}) {
      const StoredAttention& a = swapped ? row.pair.second : row.pair.first;
      const StoredAttention& b = swapped ? row.pair.first : row.pair.second;
      const Decision decision = decide_equivalence(a, b);
      const std::string found = name_of(decision.verdict);
      EXPECT_NE(("|" + row.verdict + "|").find("|" + found + "|"), std::string::npos)
          << found << ", expected " << row.verdict << ": " << reason_of(decision);
      expect_evidence_holds(decision, a, b);
    }
  }
}

}  // namespace
}  // namespace attnsym
