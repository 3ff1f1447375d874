// Every kind of attention [N5]: the reference forward, enclosures and bounds.
#include "tests/support/attention_kinds.hpp"

#include <gtest/gtest.h>

#include <complex>

#include "symmetry/centred.hpp"
#include "symmetry/score_terms.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"
#include "verify/decide.hpp"
#include "verify/enclosure.hpp"

namespace attnsym {
namespace {

using testing::attention_kinds;
using testing::AttentionKind;
using testing::bf16;
using testing::f32;
using testing::moved_within_radii;
using testing::random_weights;
using testing::stored;
using testing::tiny_config;

Matrix<double> tokens(Index rows = 6) { return fixed_probe<double>(rows, 6, 2); }

double relative(const Matrix<double>& a, const Matrix<double>& b) { return (a - b).norm() / a.norm(); }

AttentionElement<double> sample(const AttentionConfig& c, std::uint64_t seed = 11) {
  Random random(seed);
  return symmetry_of(c).sample<double>(random);
}

TEST(Attend, IsInvariantUnderTheGroupOfEveryKind) {
  for (const AttentionKind& kind : attention_kinds()) {
    const auto w = random_weights<double>(kind.config, 3);
    const Matrix<double> before = attend(kind.config, w, tokens());
    const Matrix<double> after = attend(kind.config, act(sample(kind.config), w), tokens());
    EXPECT_LT(relative(before, after), 1e-12) << kind.name;
  }
}

// Two tokens and one head, written out: position 1 looks at position 0.
TEST(Attend, TurnsPairsByTheDistance) {
  AttentionConfig c{2, 1, 1, 2, 1};
  c.rotary.frequencies = {0.5};
  AttentionWeights<double> w;
  const Matrix<double> one = Matrix<double>::Identity(2, 2);
  Matrix<double> value(2, 1);
  value << 1, 0;
  w.groups.push_back({one, value, {}, {}, {{one, value.transpose(), {}}}});
  Matrix<double> x(2, 2);
  x << 1, 2, 3, -1;
  // (q1 + i q2) e^(i 0.5) conj(k1 + i k2): the query at 1 is turned forward by one step.
  const std::complex<double> query(3, -1);
  const std::complex<double> step = std::polar(1.0, 0.5);
  const double far = (query * step * std::conj(std::complex<double>(1, 2))).real();
  const double weight = 1 / (1 + std::exp(10 - far));
  EXPECT_NEAR(attend(c, w, x)(1, 0), weight * 1 + (1 - weight) * 3, 1e-14);
}

// Pairs of halves, as of llama, or of neighbours, as of GPT-J.
TEST(Attend, PairsAreWhereTheLayoutSays) {
  Rotary rotary{{0.5, 0.1}};
  EXPECT_EQ(rotary.columns(0), std::pair(Index(0), Index(2)));
  EXPECT_EQ(rotary.columns(1), std::pair(Index(1), Index(3)));
  rotary.layout = PairLayout::Interleaved;
  EXPECT_EQ(rotary.columns(0), std::pair(Index(0), Index(1)));
  EXPECT_EQ(rotary.columns(1), std::pair(Index(2), Index(3)));
}

// The columns of queries and keys in another order: the other layout computes the same.
TEST(Attend, LayoutsAreOrdersOfColumns) {
  AttentionConfig halves{6, 2, 2, 4, 3};
  halves.rotary.frequencies = {0.5, 0.1};
  AttentionConfig neighbours = halves;
  neighbours.rotary.layout = PairLayout::Interleaved;
  const AttentionWeights<double> w = random_weights<double>(halves, 3);
  AttentionWeights<double> moved = w;
  for (KvGroup<double>& group : moved.groups) {
    group.key.col(1).swap(group.key.col(2));
    group.readers[0].query.col(1).swap(group.readers[0].query.col(2));
  }
  const Matrix<double> x = fixed_probe<double>(5, 6, 1);
  EXPECT_LT(relative(attend(halves, w, x), attend(neighbours, moved, x)), 1e-13);
  EXPECT_GT(relative(attend(halves, w, x), attend(neighbours, w, x)), 1e-3);
}

TEST(Attend, SinkTakesWeightAndSoftcapBounds) {
  AttentionConfig c{1, 1, 1, 1, 1};
  c.sinks = true;
  const auto one = [](double value) { return Matrix<double>(Matrix<double>::Constant(1, 1, value)); };
  AttentionWeights<double> w;
  w.groups.push_back({one(2), one(3), {}, {}, {{one(1), one(1), {}, RowVector<double>::Constant(1, 0.5)}}});
  const double logit = 2;
  EXPECT_NEAR(attend(c, w, one(1))(0, 0), 3 * std::exp(logit) / (std::exp(logit) + std::exp(0.5)), 1e-14);
  c.softcap = 0.75;
  const double capped = 0.75 * std::tanh(logit / 0.75);
  EXPECT_NEAR(attend(c, w, one(1))(0, 0), 3 * std::exp(capped) / (std::exp(capped) + std::exp(0.5)), 1e-14);
}

TEST(Attend, WindowHidesWhatIsFarAway) {
  AttentionConfig c = testing::with_causal_mask(tiny_config(2, 2));
  c.window = 2;
  const auto w = random_weights<double>(c, 3);
  Matrix<double> other = tokens();
  other.row(0) *= -2;
  const Matrix<double> before = attend(c, w, tokens());
  const Matrix<double> after = attend(c, w, other);
  EXPECT_GT((before - after).topRows(2).norm(), 1e-3);
  EXPECT_EQ(before.bottomRows(4), after.bottomRows(4));
}

// score_terms: the sum of the terms at a distance is the score that the reference computes.
TEST(ScoreTerms, AddUpToTheScore) {
  for (const AttentionKind& kind : attention_kinds()) {
    const AttentionConfig& c = kind.config;
    const auto w = random_weights<double>(c, 5);
    const auto turned = [&](RowVector<double> row, Index position) {
      for (Index p = 0; p < c.rotary.pairs(); ++p) {
        const auto [x, y] = c.rotary.columns(p);
        const std::complex<double> z =
            std::complex<double>(row(x), row(y)) *
            std::polar(1.0, c.rotary.frequencies[p] * static_cast<double>(position));
        row(x) = c.rotary.gain * z.real();
        row(y) = c.rotary.gain * z.imag();
      }
      return row;
    };
    const RowVector<double> x = tokens().row(0);
    const RowVector<double> y = tokens().row(1);
    const Index head = c.heads - 1;
    const auto& group = w.groups.back();
    const auto& reader = group.readers.back();
    RowVector<double> query = x * reader.query;
    if (c.query_bias) query += reader.query_bias;
    RowVector<double> key = y * group.key;
    for (const GaugeBlock& block : gauge_blocks(c)) {
      if (!c.key_bias || key_bias_is_free(c, block)) continue;
      for (const auto* columns : {&block.real, &block.imaginary})
        for (const Index k : *columns) key(k) += group.key_bias(k);
    }
    const double expected = c.scale * turned(query, 7).dot(turned(key, 4));
    double sum = 0;
    for (const auto& term : score_terms(c, w, head)) {
      const auto extended = [](const RowVector<double>& token, Index size) {
        RowVector<double> result = RowVector<double>::Ones(size);
        result.head(token.size()) = token;
        return result;
      };
      const double angle = 3 * term.harmonic.frequency;
      sum += (term.harmonic.sine ? std::sin(angle) : std::cos(angle)) *
             (extended(x, 7) * term.circuit.left)
                 .dot(extended(y, term.circuit.right.rows()) * term.circuit.right);
    }
    EXPECT_NEAR(sum, expected, 1e-12) << kind.name;
  }
}

// The radius has to hold all outputs of weights within theirs; corners are the hardest.
TEST(Enclosure, HoldsTheOutputsOfEveryKind) {
  Random random(9);
  for (const AttentionKind& kind : attention_kinds()) {
    const StoredAttention module = stored(kind.config, random_weights<double>(kind.config, 4), bf16);
    const Enclosure enclosure = enclose_attend(module, tokens());
    for (int draw = 0; draw < 10; ++draw) {
      const auto w = moved_within_radii(module, [&] { return random.below(2) == 0 ? 1 : -1; });
      const Matrix<double> off = (attend(kind.config, w, tokens()) - enclosure.center).cwiseAbs();
      EXPECT_LE(off.cwiseQuotient(enclosure.radius).maxCoeff(), 1.0001) << kind.name;
    }
    EXPECT_LT(enclosure.radius.norm(), enclosure.center.norm()) << kind.name << ": too wide to be of use";
    const Matrix<Float50> exact =
        attend(kind.config, cast<Float50>(module.weights), Matrix<Float50>(tokens().cast<Float50>()));
    const Enclosure tight = enclose_attend(taken_as_exact(module), tokens());
    const Matrix<double> error = (exact - tight.center.cast<Float50>()).cwiseAbs().cast<double>();
    EXPECT_LE(error.cwiseQuotient(tight.radius).maxCoeff(), 1) << kind.name;
    EXPECT_LT(tight.radius.norm(), 1e-10 * tight.center.norm()) << kind.name;
  }
}

TEST(Enclosure, HoldsTheOutputsOfEveryKindAtFiftyDigits) {
  for (const AttentionKind& kind : attention_kinds()) {
    const StoredAttention module =
        taken_as_exact(stored(kind.config, random_weights<double>(kind.config, 4), bf16));
    const Matrix<Float100> exact =
        attend(kind.config, cast<Float100>(module.weights), Matrix<Float100>(tokens().cast<Float100>()));
    for (const Index query : {Index{0}, tokens().rows() - 1}) {
      const Enclosed<Float50> enclosed = enclose_at_fifty_digits(module, tokens(), query);
      const Matrix<Float100> off = (exact.row(query) - enclosed.center.cast<Float100>()).cwiseAbs();
      EXPECT_TRUE((off.array() <= enclosed.radius.cast<Float100>().array()).all()) << kind.name;
      EXPECT_LT(enclosed.radius.norm(), 1e-40) << kind.name;
    }
  }
}

// All the uncertainty in one coordinate of the queries: turned, it is in both.
TEST(Enclosure, TurnsErrorsWithTheirPair) {
  AttentionConfig c{2, 1, 1, 2, 1};
  c.rotary.frequencies = {1.2};
  StoredAttention module = stored(c, random_weights<double>(c, 4), f32);
  module = taken_as_exact(std::move(module));
  for (const Index column : {0, 1}) {
    StoredAttention uncertain = module;
    uncertain.radius.groups[0].readers[0].query.col(column).setConstant(0.01);
    const Matrix<double> x = 2 * fixed_probe<double>(4, 2, 3);
    const Enclosure enclosure = enclose_attend(uncertain, x);
    for (const double edge : {-0.01, 0.01}) {
      for (const double other : {-0.01, 0.01}) {
        AttentionWeights<double> w = module.weights;
        w.groups[0].readers[0].query(0, column) += edge;
        w.groups[0].readers[0].query(1, column) += other;
        const Matrix<double> off = (attend(c, w, x) - enclosure.center).cwiseAbs();
        EXPECT_LE(off.cwiseQuotient(enclosure.radius).maxCoeff(), 1);
        EXPECT_GT(off.norm(), 0);
      }
    }
  }
}

TEST(OutputBound, HoldsUnderPositions) {
  for (const AttentionKind& kind : attention_kinds()) {
    const AttentionConfig& c = kind.config;
    const StoredAttention a = stored(c, random_weights<double>(c, 6), bf16);
    const StoredAttention b = stored(c, act(sample(c), a.weights), bf16);
    DecideOptions options;
    options.input_radius = 2;
    const Decision decision = decide_equivalence(a, b, options);
    if (c.sinks) {
      EXPECT_FALSE(decision.output_bound.has_value() && decision.heads[0].qk.offset_difference > 0);
      continue;
    }
    if (c.qk_norm || c.output_gate) {  // no bound is known
      EXPECT_FALSE(decision.output_bound.has_value());
      continue;
    }
    ASSERT_TRUE(decision.output_bound.has_value()) << kind.name;
    Random random(2);
    for (int draw = 0; draw < 50; ++draw) {
      Matrix<double> x(5, 6);
      for (Index i = 0; i < x.size(); ++i) x.data()[i] = random.normal();
      if (c.centred_inputs) x = centred_tokens(x);
      for (Index n = 0; n < x.rows(); ++n) x.row(n) *= 2 / x.row(n).norm();
      const Matrix<double> apart = attend(c, a.weights, x) - attend(c, b.weights, x);
      EXPECT_LE(apart.rowwise().norm().maxCoeff(), *decision.output_bound) << kind.name;
    }
  }
}

}  // namespace
}  // namespace attnsym
