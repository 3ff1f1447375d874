// Latent attention: its canonical form and verdicts on two modules [N5, N6].
#include "verify/decide_mla.hpp"

#include <gtest/gtest.h>

#include <Eigen/QR>
#include <cmath>

#include "symmetry/mla_canonical.hpp"
#include "symmetry/svd.hpp"
#include "tests/support/random_mla.hpp"
#include "tests/support/random_module.hpp"
#include "verify/mla_attend.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f32;
using testing::random_mla;
using testing::slots;

std::vector<MlaConfig> configs() {
  MlaConfig wide =
      testing::small_mla();  // a latent wider than the model, which has axes that nothing reaches
  wide.kv_latent = 12;
  MlaConfig many = testing::small_mla_with_two_pairs();
  many.heads = 4;
  return {testing::small_mla(), testing::small_mla_with_two_pairs(), wide, many};
}

// With u of the size of a number as its error.
StoredMla stored(const MlaConfig& config, const MlaWeights<double>& weights, double unit) {
  StoredMla module{config, weights, weights};
  for_each_mla_slot(module.weights, [&](auto& slot) {
    for (double& x : slot.reshaped()) {
      int exponent = 0;
      const double mantissa = std::frexp(x, &exponent);
      x = std::ldexp(std::nearbyint(mantissa / unit) * unit, exponent);
    }
  });
  module.radius = module.weights;
  for_each_mla_slot(module.radius, [&](auto& slot) { slot = slot.cwiseAbs().eval() * unit; });
  return module;
}

double apart(const MlaWeights<double>& a, const MlaWeights<double>& b) {
  double largest = 0;
  const auto in_a = slots(a);
  const auto in_b = slots(b);
  for (std::size_t i = 0; i < in_a.size(); ++i)
    largest = std::max(largest, (in_a[i] - in_b[i]).norm() / std::max(in_a[i].norm(), 1e-300));
  return largest;
}

Matrix<double> tokens() { return fixed_probe<double>(6, 9, 2); }

TEST(CanonicalMla, ComputesTheSame) {
  for (const MlaConfig& c : configs()) {
    const auto w = random_mla<double>(c, 3);
    const Matrix<double> output = attend(c, w, tokens());
    const Matrix<double> after = attend(c, canonicalize(w, c).weights, tokens());
    EXPECT_LT((output - after).norm(), 1e-12 * output.norm());
  }
}

TEST(CanonicalMla, IsOneForAnOrbitAndItsOwn) {
  for (const MlaConfig& c : configs()) {
    const auto w = random_mla<double>(c, 3);
    const CanonicalMla<double> form = canonicalize(w, c);
    EXPECT_LT(apart(form.weights, canonicalize(form.weights, c).weights), 1e-11);
    Random random(4);
    for (int draw = 0; draw < 20; ++draw) {
      auto moved = act(symmetry_of(c).sample<double>(random), w);
      if (c.epsilon == 0) moved.query.down *= 3;
      EXPECT_LT(apart(form.weights, canonicalize(moved, c).weights), 1e-8)
          << form.latent_margin << ' ' << form.sign_margin << ' ' << form.order_margin;
    }
  }
}

TEST(CanonicalMla, IsExactToTheDigitsOfItsScalar) {
  const MlaConfig c = testing::small_mla();
  const auto w = random_mla<Float50>(c, 3);
  Random random(4);
  const auto form = canonicalize(w, c).weights;
  const auto of_moved = canonicalize(act(symmetry_of(c).sample<Float50>(random), w), c).weights;
  for (std::size_t i = 0; i < slots(form).size(); ++i)
    EXPECT_LT((slots(form)[i] - slots(of_moved)[i]).norm(), Float50(1e-40));
}

TEST(CanonicalMla, OfDegenerateModules) {
  const MlaConfig c = testing::small_mla();
  auto w = random_mla<double>(c, 3);
  w.heads[0].value.setZero();
  w.kv.gain(2) = 0;
  w.query.down.col(1) = w.query.down.col(0);
  const auto form = canonicalize(w, c).weights;
  const Matrix<double> output = attend(c, w, tokens());
  EXPECT_LT((output - attend(c, form, tokens())).norm(), 1e-12 * output.norm());
  EXPECT_TRUE(form.heads[1].query.isZero(0) && form.heads[1].output.isZero(0));  // what adds nothing is last
  EXPECT_TRUE(form.query.down.col(3).isZero(0) && form.heads[0].query.row(3).isZero(0));
  EXPECT_LT(apart(form, canonicalize(form, c).weights), 1e-11);
  for_each_mla_slot(w, [](auto& slot) { slot.setZero(); });
  const auto zero = canonicalize(w, c).weights;
  for_each_mla_slot(zero, [](const auto& slot) { EXPECT_TRUE(slot.allFinite()); });
}

// In BF16 a turn of nine numbers by four is known badly: a few of a hundred come out undecided.
TEST(DecideMla, ElementsOfTheGroupAreEquivalent) {
  SampleOptions options;
  options.condition = 5;
  constexpr int draws = 20;
  for (const double unit : {f32, bf16}) {
    int equivalent = 0;
    for (const MlaConfig& c : configs()) {
      const auto w = random_mla<double>(c, 3);
      Random random(4);
      for (int draw = 0; draw < draws; ++draw) {
        const auto moved = act(symmetry_of(c).sample<double>(random, options), w);
        const MlaDecision decision = decide_mla(stored(c, w, unit), stored(c, moved, unit));
        EXPECT_NE(decision.verdict, ModelVerdict::Distinct) << decision.reason;
        equivalent += decision.verdict == ModelVerdict::Equivalent ? 1 : 0;
      }
    }
    EXPECT_GE(equivalent, unit == f32 ? 4 * draws : 4 * draws - 8);
  }
}

TEST(DecideMla, AModuleIsIdenticalToItselfAndToItsHeadsPermuted) {
  for (const MlaConfig& c : configs()) {
    const auto w = random_mla<double>(c, 3);
    const StoredMla a = stored(c, w, f32);
    StoredMla b = a;
    std::swap(b.weights.heads[0], b.weights.heads[1]);
    std::swap(b.radius.heads[0], b.radius.heads[1]);
    EXPECT_EQ(decide_mla(a, a).verdict, ModelVerdict::Identical);
    EXPECT_EQ(decide_mla(a, b).verdict, ModelVerdict::Identical);
  }
}

TEST(DecideMla, WhatIsReadAlongAxesThatNothingReachesDoesNotCount) {
  const MlaConfig wide = configs()[2];
  const auto w = random_mla<double>(wide, 3);
  const Matrix<double> q = Eigen::HouseholderQR<Matrix<double>>(w.kv.down.transpose()).householderQ();
  auto other = w;
  const Matrix<double> unseen = w.kv.gain.cwiseInverse().asDiagonal() * q.rightCols(1);
  other.heads[0].key += unseen * RowVector<double>::Ones(w.heads[0].key.cols());
  const MlaDecision decision = decide_mla(stored(wide, w, f32), stored(wide, other, f32));
  EXPECT_EQ(decision.verdict, ModelVerdict::Equivalent) << decision.reason;
}

TEST(DecideMla, CanonicalFormsAreEquivalent) {
  for (const MlaConfig& c : configs()) {
    const auto w = random_mla<double>(c, 3);
    const MlaDecision decision = decide_mla(stored(c, w, f32), stored(c, canonicalize(w, c).weights, f32));
    EXPECT_EQ(decision.verdict, ModelVerdict::Equivalent) << c.kv_latent << ' ' << c.heads << decision.reason;
  }
}

// The scale of a projection counts behind norms with an epsilon only.
TEST(DecideMla, ScalesOfLatents) {
  for (const MlaConfig& c : configs()) {
    const auto w = random_mla<double>(c, 3);
    auto scaled = w;
    scaled.kv.down *= 1.5;
    const MlaDecision decision = decide_mla(stored(c, w, f32), stored(c, scaled, f32));
    EXPECT_EQ(decision.verdict, c.epsilon == 0 ? ModelVerdict::Equivalent : ModelVerdict::Distinct)
        << decision.reason;
  }
}

TEST(DecideMla, WhatIsNoElementIsDistinct) {
  using Edit = void (*)(MlaWeights<double>&);
  const Edit edits[] = {[](auto& w) { w.kv.gain(0) *= 1.1; },
                        [](auto& w) { std::swap(w.heads[0].rotary_query, w.heads[1].rotary_query); },
                        [](auto& w) { w.rotary_key.col(0) *= 1.2; },
                        [](auto& w) { w.heads[0].key(0, 0) += 0.05; },
                        [](auto& w) { w.heads[1].output(0, 0) += 0.05; },
                        [](auto& w) { w.query.down(0, 0) += 0.05; },
                        [](auto& w) {  // a turn of a latent that its readers do not follow
                          w.kv.down.col(0).swap(w.kv.down.col(1));
                        },
                        [](auto& w) {  // the shared key moved for one head
                          w.rotary_key *= 2;
                          w.heads[0].rotary_query /= 2;
                        }};
  for (const MlaConfig& c : configs()) {
    const auto w = random_mla<double>(c, 3);
    for (const Edit& edit : edits) {
      auto other = w;
      edit(other);
      const MlaDecision decision = decide_mla(stored(c, w, f32), stored(c, other, f32));
      EXPECT_EQ(decision.verdict, ModelVerdict::Distinct) << (&edit - edits) << ' ' << decision.reason;
      ASSERT_TRUE(decision.witness);
      const Matrix<double> apart =
          attend(c, w, decision.witness->input) - attend(c, other, decision.witness->input);
      EXPECT_NEAR(apart.norm(), decision.witness->gap, 1e-3 * decision.witness->gap);
    }
  }
}

// Gains that move into their readers by powers of two: nothing is rounded, but what is stored is not the
// same.
TEST(DecideMla, IdenticalModulesHaveTheSameNumbers) {
  const MlaConfig c = testing::small_mla();
  const auto w = random_mla<double>(c, 3);
  auto other = w;
  other.kv.gain *= 2;
  for (MlaHead<double>& head : other.heads) {
    head.key /= 2;
    head.value /= 2;
  }
  EXPECT_EQ(decide_mla(stored(c, w, f32), stored(c, other, f32)).verdict, ModelVerdict::Equivalent);
}

// A projection of lower rank than it might have: behind a norm a token may reach the other axes at full size,
// by rounding alone, so what is read along them counts.
TEST(DecideMla, AxesThatOnlyRoundingReachesCount) {
  for (MlaConfig c : {configs()[0], configs()[2]}) {
    c.epsilon = 0.1;
    auto w = random_mla<double>(c, 3);
    const StoredMla rounded = stored(c, w, f32);
    w.query = rounded.weights.query;
    w.kv = rounded.weights.kv;
    w.kv.down.row(1) = w.kv.down.row(0);
    if (c.kv_latent < c.model_width) w.kv.down.col(1) = w.kv.down.col(0);
    Matrix<double> axes = right_singular_vectors(w.kv.down);
    if (c.kv_latent > c.model_width)  // those that an SVD of as many axes as the model has leaves out
      axes = Eigen::HouseholderQR<Matrix<double>>(thin_svd(w.kv.down).v).householderQ();
    for (Index axis = std::min(c.kv_latent - 1, c.model_width); axis < c.kv_latent; ++axis) {
      auto other = w;
      other.heads[0].key += w.kv.gain.cwiseInverse().asDiagonal() * axes.col(axis) *
                            RowVector<double>::Ones(w.heads[0].key.cols());
      const MlaDecision decision = decide_mla(stored(c, w, f32), stored(c, other, f32));
      EXPECT_EQ(decision.verdict, ModelVerdict::Undecided) << axis << ' ' << decision.reason;
    }
  }
}

// A turn that is a little too long agrees with what is stored coarsely: it is none all the same.
TEST(DecideMla, TurnsAreOrthogonalToAllDigits) {
  const MlaConfig c = configs()[0];
  const StoredMla a = stored(c, random_mla<double>(c, 3), bf16);
  const MlaDecision same = decide_mla(a, a);
  const auto* heads = std::get_if<Identical>(&same.heads.verdict);
  ASSERT_NE(heads, nullptr);
  MlaEvidence evidence{same.query_turn, same.kv_turn, heads->b_from_a};
  ASSERT_EQ(refute_mla_equivalence(a, a, evidence), std::nullopt);
  evidence.kv_turn *= 1 + 1e-6;
  EXPECT_TRUE(refute_mla_equivalence(a, a, evidence));
}

class MlaChecker : public ::testing::Test {
 protected:
  const MlaConfig config = testing::small_mla();
  const MlaWeights<double> weights = random_mla<double>(config, 3);
  const StoredMla a = stored(config, weights, f32);

  // A moved by an element, and what shows it.
  std::pair<StoredMla, MlaEvidence> moved() const {
    Random random(4);
    SampleOptions options;
    options.condition = 5;
    StoredMla b = stored(config, act(symmetry_of(config).sample<double>(random, options), weights), f32);
    const MlaDecision decision = decide_mla(a, b);
    EXPECT_EQ(decision.verdict, ModelVerdict::Equivalent) << decision.reason;
    const auto* heads = std::get_if<Equivalent>(&decision.heads.verdict);
    EXPECT_NE(heads, nullptr);
    return {std::move(b), {decision.query_turn, decision.kv_turn, heads->evidence}};
  }
};

TEST_F(MlaChecker, TakesNoOtherTurn) {
  const auto [b, evidence] = moved();
  EXPECT_EQ(refute_mla_equivalence(a, b, evidence), std::nullopt);
  using Forge = void (*)(Matrix<double>&);
  const Forge forgeries[] = {[](auto& u) { u.row(0) *= -1; },
                             [](auto& u) { u.row(0).swap(u.row(1)); },
                             [](auto& u) { u *= 1.001; },
                             [](auto& u) { u.setIdentity(); },
                             [](auto& u) { u.setZero(); },
                             [](auto& u) { u(0, 0) = std::nan(""); },
                             [](auto& u) { u.conservativeResize(2, 2); }};
  for (const auto turn : {&MlaEvidence::query_turn, &MlaEvidence::kv_turn}) {
    for (const Forge& forge : forgeries) {
      MlaEvidence forged = evidence;
      forge(forged.*turn);
      EXPECT_TRUE(refute_mla_equivalence(a, b, forged)) << (&forge - forgeries);
    }
  }
}

TEST_F(MlaChecker, TakesNoEvidenceForAnEditedModule) {
  const auto [b, evidence] = moved();
  std::size_t count = 0;
  for_each_mla_slot(weights, [&](const auto&) { ++count; });
  for (std::size_t edited = 0; edited < count; ++edited) {
    StoredMla other = b;
    std::size_t at = 0;
    for_each_mla_slot(other.weights, [&](auto& slot) {
      if (at++ == edited) slot.data()[slot.size() - 1] *= 1.05;
    });
    EXPECT_TRUE(refute_mla_equivalence(a, other, evidence)) << edited;
  }
}

// Scaled projections behind an epsilon: no turn, and no change that a turn could hide.
TEST_F(MlaChecker, KnowsWhereScalesCount) {
  for (MlaConfig c : {config, testing::small_mla_with_two_pairs()}) {
    StoredMla module = stored(c, random_mla<double>(c, 3), f32);
    const MlaDecision same = decide_mla(module, module);
    const auto* heads = std::get_if<Identical>(&same.heads.verdict);
    ASSERT_NE(heads, nullptr);
    StoredMla scaled = module;
    scaled.weights.kv.down *= 2;
    scaled.radius.kv.down *= 2;
    const MlaEvidence evidence{same.query_turn, same.kv_turn, heads->b_from_a};
    EXPECT_EQ(refute_mla_equivalence(module, scaled, evidence).has_value(), c.epsilon > 0);
    EXPECT_TRUE(refute_mla_identity(module, scaled, heads->b_from_a));
    StoredMla other = module;
    other.weights.query.gain *= 2;
    EXPECT_TRUE(refute_mla_identity(module, other, heads->b_from_a));
    EXPECT_EQ(refute_mla_identity(module, module, heads->b_from_a), std::nullopt);
  }
}

TEST_F(MlaChecker, TakesNoWitnessOfEqualModules) {
  const auto [b, evidence] = moved();
  EXPECT_TRUE(refute_mla_witness(a, b, tokens()));
  EXPECT_TRUE(refute_mla_witness(a, a, tokens()));
  StoredMla exact = a;  // as if stored without an error: arithmetic is none
  for_each_mla_slot(exact.radius, [](auto& slot) { slot.setZero(); });
  StoredMla moved_exactly = exact;
  Random random(5);
  moved_exactly.weights = act(symmetry_of(config).sample<double>(random), exact.weights);
  EXPECT_TRUE(refute_mla_witness(exact, moved_exactly, tokens()));
  StoredMla other = a;
  other.weights.kv.gain(0) *= 1.1;
  EXPECT_EQ(refute_mla_witness(a, other, tokens()), std::nullopt);
  EXPECT_TRUE(refute_mla_witness(a, other, tokens().topRows(2)));
  EXPECT_TRUE(refute_mla_witness(a, other, tokens() * std::nan("")));
}

TEST(DecideMla, OtherShapesAreToldApartOrRefused) {
  const MlaConfig c = testing::small_mla();
  MlaConfig other = c;
  other.kv_latent = 4;
  const StoredMla a = stored(c, random_mla<double>(c, 3), f32);
  const MlaDecision decision = decide_mla(a, stored(other, random_mla<double>(other, 3), f32));
  EXPECT_EQ(decision.verdict, ModelVerdict::Distinct) << decision.reason;
  StoredMla broken = a;
  broken.radius.kv.gain.resize(2);
  EXPECT_THROW(decide_mla(a, broken), std::runtime_error);
}

}  // namespace
}  // namespace attnsym
