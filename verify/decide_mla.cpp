#include "verify/decide_mla.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "symmetry/errors.hpp"
#include "symmetry/svd.hpp"
#include "verify/decide.hpp"
#include "verify/hashed_random.hpp"
#include "verify/mla_attend.hpp"
#include "verify/mla_core.hpp"
#include "verify/models/stored_algebra.hpp"
#include "verify/within_radius.hpp"

namespace attnsym {
namespace {

constexpr double witness_factor = 10;

// A projection and what reads its latent behind it, gains multiplied in: n rows each.
struct SeenLatent {
  StoredMatrix down;
  std::vector<std::pair<Matrix<double>*, Matrix<double>*>> readings;  // values and errors

  void fold(const StoredMatrix& gain) {
    for (const auto& [value, radius] : readings) store({value, radius}, scaled_rows(gain, {*value, *radius}));
  }

  // What no token reaches is not read: coordinates along axes of the projection that are zero up to rounding.
  void leave_out_the_unreached() {
    const Svd<double> svd = thin_svd(down.value);
    const double noise = down.radius.norm() + tolerance<double>() * down.value.norm();
    const Index rank = (svd.sigma.array() > noise).count();
    if (rank == down.value.cols()) return;
    const Matrix<double> axes = svd.v.leftCols(rank);
    multiply(axes * axes.transpose());
  }

  // A turn that was found from two projections is known as well as these: in their axes, entry (i, j) of its
  // logarithm up to the deviation of their numbers over (sigma_i^2 + sigma_j^2)^(1/2).
  void add_errors_of_turn(const StoredMatrix& other) {
    const Svd<double> svd = thin_svd(down.value);
    const double variance = (down.radius.squaredNorm() + other.radius.squaredNorm()) /
                            static_cast<double>(std::max<Index>(1, down.value.size()));
    const Eigen::ArrayXd lengths = svd.sigma.transpose().array().square();
    Matrix<double> of_turn(lengths.size(), lengths.size());
    for (Index i = 0; i < lengths.size(); ++i) {
      for (Index j = 0; j < lengths.size(); ++j)
        of_turn(i, j) = i == j ? 0 : variance / std::max(lengths(i) + lengths(j), 1e-300);
    }
    for (const auto& [value, radius] : readings) {
      const Matrix<double> along = (svd.v.transpose() * *value).cwiseAbs2();
      const Matrix<double> added = svd.v.cwiseAbs2() * (of_turn * along);
      *radius = (radius->cwiseAbs2() + added).cwiseSqrt().eval();
    }
  }

  // Coordinates z U^T for z.
  void turn(const Matrix<double>& u) {
    const auto transposed = [](const StoredMatrix& m) -> StoredMatrix {
      return {m.value.transpose(), m.radius.transpose()};
    };
    down = transposed(multiplied(u, transposed(down)));
    multiply(u);
  }

 private:
  // With what computing it leaves in every column, also where the factor is zero up to rounding.
  static StoredMatrix multiplied(const Matrix<double>& factor, const StoredMatrix& columns) {
    StoredMatrix result = product({factor, Matrix<double>::Zero(factor.rows(), factor.cols())}, columns);
    const RowVector<double> left = 0x1p-50 * columns.value.colwise().norm();
    result.radius = (result.radius.cwiseAbs2().rowwise() + left.cwiseAbs2()).cwiseSqrt().eval();
    return result;
  }

  void multiply(const Matrix<double>& factor) {
    for (const auto& [value, radius] : readings)
      store({value, radius}, multiplied(factor, {*value, *radius}));
  }

  static void store(const std::pair<Matrix<double>*, Matrix<double>*>& place, const StoredMatrix& numbers) {
    *place.first = numbers.value;
    *place.second = numbers.radius;
  }
};

SeenLatent query_latent_of(StoredMla& module) {
  SeenLatent seen{{module.weights.query.down, module.radius.query.down}, {}};
  for (std::size_t i = 0; i < module.weights.heads.size(); ++i) {
    MlaHead<double>& value = module.weights.heads[i];
    MlaHead<double>& radius = module.radius.heads[i];
    seen.readings.insert(seen.readings.end(),
                         {{&value.query, &radius.query}, {&value.rotary_query, &radius.rotary_query}});
  }
  seen.fold({module.weights.query.gain, module.radius.query.gain});
  return seen;
}

SeenLatent kv_latent_of(StoredMla& module) {
  SeenLatent seen{{module.weights.kv.down, module.radius.kv.down}, {}};
  for (std::size_t i = 0; i < module.weights.heads.size(); ++i) {
    MlaHead<double>& value = module.weights.heads[i];
    MlaHead<double>& radius = module.radius.heads[i];
    seen.readings.insert(seen.readings.end(), {{&value.key, &radius.key}, {&value.value, &radius.value}});
  }
  seen.fold({module.weights.kv.gain, module.radius.kv.gain});
  return seen;
}

// Without an epsilon the scale of a projection does not count.
void drop_scale(StoredMatrix& down) {
  const double size = down.value.norm();
  if (size > 0) down = scaled(std::move(down), 1 / size);
}

// Turns the latent of A to that of B: not at all where they agree, else by the orthogonal matrix that brings
// them together best.
std::pair<Matrix<double>, EntryComparison> align(SeenLatent& a, SeenLatent& b, bool scale_is_free) {
  const Index width = a.down.value.rows();
  const Index size = a.down.value.cols();
  EntryRules rules;
  rules.inner_width = width;
  rules.sources = 0;
  rules.independent = false;
  const EntryComparison as_stored = compare_entries(a.down, b.down, rules);
  if (as_stored.is_exact) {
    for (SeenLatent* latent : {&a, &b}) latent->leave_out_the_unreached();
    return {Matrix<double>::Identity(size, size), as_stored};
  }
  if (scale_is_free) {
    drop_scale(a.down);
    drop_scale(b.down);
  }
  Matrix<double> u = Matrix<double>::Identity(size, size);
  EntryComparison comparison = compare_entries(a.down, b.down, rules);
  if (!comparison.agrees()) {
    const Svd<double> svd = thin_svd(Matrix<double>(a.down.value.transpose() * b.down.value));
    // Where both projections are zero there is nothing to turn.
    const Index rank = (svd.sigma.array() > tolerance<double>() * svd.sigma(0)).count();
    u = svd.v.leftCols(rank) * svd.u.leftCols(rank).transpose();
    a.turn(u);
    comparison = compare_entries(a.down, b.down, rules);
  }
  comparison.is_exact = false;
  for (SeenLatent* latent : {&a, &b}) latent->leave_out_the_unreached();
  if (!u.isIdentity(0)) a.add_errors_of_turn(b.down);
  return {u, comparison};
}

// Errors are mixed by turns.
StoredAttention core_of(const StoredMla& module) {
  const MlaCore core(module.config);
  return {core.config(module.config), core.weights(module.config, module.weights),
          core.weights(module.config, module.radius), false};
}

bool are_equal(const Verdict& verdict) {
  return std::holds_alternative<Identical>(verdict) || std::holds_alternative<Equivalent>(verdict);
}

void compare(StoredMla a, StoredMla b, MlaDecision& decision) {
  const bool scale_is_free = a.config.epsilon == 0;
  {
    SeenLatent query_a = query_latent_of(a);
    SeenLatent query_b = query_latent_of(b);
    std::tie(decision.query_turn, decision.query_latent) = align(query_a, query_b, scale_is_free);
    SeenLatent kv_a = kv_latent_of(a);
    SeenLatent kv_b = kv_latent_of(b);
    std::tie(decision.kv_turn, decision.kv_latent) = align(kv_a, kv_b, scale_is_free);
  }
  DecideOptions options;
  options.search_witness = false;  // latents and token of an input cannot be chosen apart
  decision.heads = decide_equivalence(core_of(a), core_of(b), options);
  if (!decision.query_latent.agrees()) {
    decision.reason = "no turn brings the latents of queries together";
  } else if (!decision.kv_latent.agrees()) {
    decision.reason = "no turn brings the latents of keys and values together";
  } else if (!are_equal(decision.heads.verdict)) {
    decision.reason = describe_difference(decision.heads);
  } else {
    const bool is_exact = decision.query_latent.is_exact && decision.kv_latent.is_exact &&
                          std::holds_alternative<Identical>(decision.heads.verdict);
    decision.verdict = is_exact ? ModelVerdict::Identical : ModelVerdict::Equivalent;
    decision.reason = "latents agree behind a turn, and heads as functions of latents and tokens";
  }
}

MlaWeights<double> drawn(const StoredMla& module, Random& random) {
  MlaWeights<double> weights = module.weights;
  const auto for_each = [](auto& all, auto visit) { for_each_mla_slot(all, visit); };
  move_all_within_radius(weights, module.radius, for_each, random);
  return weights;
}

Digest digest_of(const StoredMla& module) {
  Hasher hasher;
  for_each_mla_slot(module.weights, [&](const auto& slot) { hasher.add_all(slot); });
  return hasher.digest();
}

MlaWitness search_witness(const StoredMla& a, const StoredMla& b, std::uint64_t seed) {
  constexpr int sequences = 4;
  constexpr int draws = 2;
  constexpr Index length = 6;
  Random random(HashedRandom(seed, "latent attention", {digest_of(a), digest_of(b)}).bits());
  MlaWitness best;
  for (int s = 0; s < sequences; ++s) {
    MlaWitness witness{.input = Matrix<double>(length, a.config.model_width)};
    for (double& entry : witness.input.reshaped()) entry = random.normal();
    const auto noise = [&](const StoredMla& module, const Matrix<double>& output) {
      double largest = 0;
      for (int draw = 0; draw < draws; ++draw)
        largest =
            std::max(largest, (attend(module.config, drawn(module, random), witness.input) - output).norm());
      return largest;
    };
    const Matrix<double> output_a = attend(a.config, a.weights, witness.input);
    const Matrix<double> output_b = attend(b.config, b.weights, witness.input);
    witness.gap = (output_a - output_b).norm();
    witness.noise = noise(a, output_a) + noise(b, output_b);
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
  if (decision.witness->strength() >= witness_factor) {
    decision.verdict = ModelVerdict::Distinct;
    decision.reason = "outputs are " + brief(decision.witness->gap) + " apart where rounding explains " +
                      brief(decision.witness->noise) + "; " + decision.reason;
  } else {
    decision.reason += ", but on no sequence that was tried are outputs further apart than rounding explains";
  }
  return decision;
}

}  // namespace attnsym
