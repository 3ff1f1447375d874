#include "verify/decide_mla.hpp"

#include <utility>

#include "symmetry/errors.hpp"
#include "symmetry/svd.hpp"
#include "verify/decide.hpp"

namespace attnsym {
namespace {

constexpr double witness_factor = 10;

// The orthogonal matrix that brings the latent of A to that of B best: none where they are the same.
Matrix<double> find_turn(const Matrix<double>& a, const Matrix<double>& b) {
  if (a == b) return Matrix<double>::Identity(a.cols(), a.cols());
  const Svd<double> svd = thin_svd(Matrix<double>(a.transpose() * b));
  return svd.v * svd.u.transpose();
}

void conclude(MlaDecision& decision, ModelVerdict verdict, std::optional<std::string> refutation,
              std::string reason) {
  if (refutation) {
    decision.reason = "evidence was found, but the checker refuses it: " + *refutation;
  } else {
    decision.verdict = verdict;
    decision.reason = std::move(reason);
  }
}

void conclude_equal(const StoredMla& a, const StoredMla& b, EqualityEvidence heads, MlaDecision& decision) {
  const char* const reason = "latents agree behind a turn, and heads as functions of latents and tokens";
  if (const auto* element = std::get_if<AttentionElement<double>>(&heads);
      element && !refute_mla_identity(a, b, *element)) {
    decision.verdict = ModelVerdict::Identical;
    decision.reason = reason;
    return;
  }
  const MlaEvidence evidence{decision.query_turn, decision.kv_turn, std::move(heads)};
  conclude(decision, ModelVerdict::Equivalent, refute_mla_equivalence(a, b, evidence), reason);
}

void compare(const StoredMla& a, const StoredMla& b, MlaDecision& decision) {
  decision.query_turn = find_turn(a.weights.query.down, b.weights.query.down);
  decision.kv_turn = find_turn(a.weights.kv.down, b.weights.kv.down);
  const TurnedMla both = turned(a, b, decision.query_turn, decision.kv_turn);
  decision.query_latent = both.query_latent;
  decision.kv_latent = both.kv_latent;
  DecideOptions options;
  options.search_witness = false;  // latents and token of an input cannot be chosen apart
  decision.heads = decide_equivalence(both.a, both.b, options);
  if (!decision.query_latent.agrees()) {
    decision.reason = "no turn brings the latents of queries together";
  } else if (!decision.kv_latent.agrees()) {
    decision.reason = "no turn brings the latents of keys and values together";
  } else if (const auto* identical = std::get_if<Identical>(&decision.heads.verdict)) {
    conclude_equal(a, b, identical->b_from_a, decision);
  } else if (const auto* equivalent = std::get_if<Equivalent>(&decision.heads.verdict)) {
    conclude_equal(a, b, equivalent->evidence, decision);
  } else {
    decision.reason = describe_difference(decision.heads);
  }
}

MlaWitness search_witness(const StoredMla& a, const StoredMla& b, std::uint64_t seed) {
  constexpr int sequences = 4;
  constexpr int draws = 2;
  constexpr Index length = 6;
  Random random(seed_from(a, b, {}, seed, "latent attention"));
  MlaWitness best;
  for (int s = 0; s < sequences; ++s) {
    MlaWitness witness;
    witness.input.resize(length, a.config.model_width);
    for (double& entry : witness.input.reshaped()) entry = random.normal();
    static_cast<MlaGap&>(witness) = measure_gap(a, b, witness.input, draws, random.bits());
    if (s == 0 || witness.strength() > best.strength()) best = std::move(witness);
  }
  return best;
}

}  // namespace

MlaDecision decide_mla(const StoredMla& a, const StoredMla& b, std::uint64_t seed) {
  for (const StoredMla* module : {&a, &b}) {
    require_fits(module->weights, module->config);
    require_fits(module->radius, module->config);
  }
  require_same_size("the widths of two models", a.config.model_width, b.config.model_width);
  MlaDecision decision;
  const bool same_latents = a.config.query_latent == b.config.query_latent &&
                            a.config.kv_latent == b.config.kv_latent && a.config.epsilon == b.config.epsilon;
  if (same_latents) {
    compare(a, b, decision);
    if (decision.verdict != ModelVerdict::Undecided) return decision;
  } else {
    decision.reason = "latents of other widths, or behind other norms";
  }
  decision.witness = search_witness(a, b, seed);
  if (!(decision.witness->strength() >= witness_factor)) {
    decision.reason += ", but on no sequence that was tried are outputs further apart than rounding explains";
    return decision;
  }
  conclude(decision, ModelVerdict::Distinct, refute_mla_witness(a, b, decision.witness->input),
           "outputs are " + brief(decision.witness->gap) + " apart where rounding explains " +
               brief(decision.witness->noise) + "; " + decision.reason);
  return decision;
}

}  // namespace attnsym
