#include "verify/checker/mla_evidence.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "symmetry/svd.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/comparison.hpp"
#include "verify/hashed_random.hpp"
#include "verify/mla_attend.hpp"
#include "verify/mla_core.hpp"
#include "verify/models/stored_algebra.hpp"
#include "verify/storage_error.hpp"
#include "verify/within_radius.hpp"

namespace attnsym {
namespace {

using Refutation = std::optional<std::string>;

// A projection and what reads its latent behind it, gains multiplied in: n rows each.
class SeenLatent {
 public:
  SeenLatent(const MlaLatent<double>& value, const MlaLatent<double>& radius)
      : down{value.down, radius.down}, gain_{value.gain, radius.gain} {}

  StoredMatrix down;

  void add_reading(Matrix<double>& value, Matrix<double>& radius) {
    readings_.emplace_back(&value, &radius);
    store(readings_.back(), scaled_rows(gain_, {value, radius}));
  }

  // Coordinates z U^T for z.
  void turn(const Matrix<double>& u) {
    const auto transposed = [](const StoredMatrix& m) -> StoredMatrix {
      return {m.value.transpose(), m.radius.transpose()};
    };
    down = transposed(multiplied(u, transposed(down)));
    multiply(u);
  }

  // Without an epsilon the scale of a projection does not count.
  void drop_scale() {
    const double size = down.value.norm();
    if (size > 0) down = scaled(std::move(down), 1 / size);
  }

  // A latent wider than the model has axes that no token reaches: what heads do there does not count. Axes
  // that tokens reach by no more than rounding are others: behind a norm they may come to full size.
  void leave_out_the_unreached() {
    if (down.value.cols() <= down.value.rows()) return;
    const Svd<double> svd = thin_svd(down.value);
    const double noise = down.radius.norm() + tolerance<double>() * down.value.norm();
    if (svd.sigma(svd.sigma.size() - 1) > noise) multiply(svd.v * svd.v.transpose());
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
    for (const auto& [value, radius] : readings_) {
      const Matrix<double> along = (svd.v.transpose() * *value).cwiseAbs2();
      const Matrix<double> added = svd.v.cwiseAbs2() * (of_turn * along);
      *radius = (radius->cwiseAbs2() + added).cwiseSqrt().eval();
    }
  }

 private:
  using Place = std::pair<Matrix<double>*, Matrix<double>*>;  // of values and errors

  // With what computing it leaves in every column, also where the factor is zero up to rounding.
  static StoredMatrix multiplied(const Matrix<double>& factor, const StoredMatrix& columns) {
    StoredMatrix result = product({factor, Matrix<double>::Zero(factor.rows(), factor.cols())}, columns);
    const RowVector<double> left = 0x1p-50 * columns.value.colwise().norm();
    result.radius = (result.radius.cwiseAbs2().rowwise() + left.cwiseAbs2()).cwiseSqrt().eval();
    return result;
  }

  void multiply(const Matrix<double>& factor) {
    for (const Place& place : readings_) store(place, multiplied(factor, {*place.first, *place.second}));
  }

  static void store(const Place& place, const StoredMatrix& numbers) {
    *place.first = numbers.value;
    *place.second = numbers.radius;
  }

  StoredMatrix gain_;
  std::vector<Place> readings_;
};

SeenLatent query_latent_of(StoredMla& module) {
  SeenLatent seen(module.weights.query, module.radius.query);
  for (std::size_t i = 0; i < module.weights.heads.size(); ++i) {
    seen.add_reading(module.weights.heads[i].query, module.radius.heads[i].query);
    seen.add_reading(module.weights.heads[i].rotary_query, module.radius.heads[i].rotary_query);
  }
  return seen;
}

SeenLatent kv_latent_of(StoredMla& module) {
  SeenLatent seen(module.weights.kv, module.radius.kv);
  for (std::size_t i = 0; i < module.weights.heads.size(); ++i) {
    seen.add_reading(module.weights.heads[i].key, module.radius.heads[i].key);
    seen.add_reading(module.weights.heads[i].value, module.radius.heads[i].value);
  }
  return seen;
}

EntryComparison compare_behind(const Matrix<double>& turn, SeenLatent a, SeenLatent b, bool scale_is_free) {
  EntryRules rules;
  rules.inner_width = a.down.value.rows();
  rules.sources = 0;
  rules.independent = false;
  if (scale_is_free) {
    a.drop_scale();
    b.drop_scale();
  }
  const bool as_stored = turn.isIdentity(0);
  if (!as_stored) a.turn(turn);
  for (SeenLatent* latent : {&a, &b}) latent->leave_out_the_unreached();
  if (!as_stored) a.add_errors_of_turn(b.down);
  return compare_entries(a.down, b.down, rules);
}

// Errors are mixed by turns.
StoredAttention core_of(const StoredMla& module) {
  const MlaCore core(module.config);
  return {core.config(module.config), core.weights(module.config, module.weights),
          core.weights(module.config, module.radius), false};
}

Refutation refute_latents(const MlaConfig& a, const MlaConfig& b) {
  const bool same = a.model_width == b.model_width && a.query_latent == b.query_latent &&
                    a.kv_latent == b.kv_latent && a.epsilon == b.epsilon;
  if (!same) return "the modules have latents of other widths, or behind other norms";
  return std::nullopt;
}

Refutation refute_turn(const Matrix<double>& turn, Index size, const char* what) {
  if (turn.rows() != size || turn.cols() != size)
    return std::string("the turn of ") + what + " has another shape";
  const double off = (turn * turn.transpose() - Matrix<double>::Identity(size, size)).norm();
  if (off <= 1e-11 * std::sqrt(static_cast<double>(size))) return std::nullopt;
  return std::string("the turn of ") + what + " is not orthogonal";
}

bool is_same(const MlaLatent<double>& a, const MlaLatent<double>& b) {
  return a.down == b.down && a.gain == b.gain;
}

// Errors of stored numbers, with room for the arithmetic of tools as equality has it [N7], and for ours.
StoredMla with_room_for_arithmetic(StoredMla module) {
  const MlaConfig& c = module.config;
  const Index inner = std::max({c.model_width, c.query_latent, c.kv_latent});
  std::vector<double> sizes;
  for_each_mla_slot(module.radius, [&](const auto& slot) { sizes.push_back(slot.norm()); });
  std::vector<Matrix<double>> arithmetic;
  for_each_mla_slot(module.weights, [&](const auto& slot) {
    const double unit = stored_unit(slot.norm(), sizes[arithmetic.size()]);
    sizes[arithmetic.size()] = arithmetic_allowance(inner, unit);
    arithmetic.push_back(0x1p-48 * slot.cwiseAbs());
  });
  std::size_t next = 0;
  for_each_mla_slot(module.radius, [&](auto& slot) {
    slot = sizes[next] * slot + arithmetic[next];
    ++next;
  });
  return module;
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

}  // namespace

TurnedMla turned(const StoredMla& of_a, const StoredMla& of_b, const Matrix<double>& query_turn,
                 const Matrix<double>& kv_turn) {
  StoredMla a = of_a;
  StoredMla b = of_b;
  const bool scale_is_free = a.config.epsilon == 0;
  const EntryComparison query =
      compare_behind(query_turn, query_latent_of(a), query_latent_of(b), scale_is_free);
  const EntryComparison kv = compare_behind(kv_turn, kv_latent_of(a), kv_latent_of(b), scale_is_free);
  return {core_of(a), core_of(b), query, kv};
}

Refutation refute_mla_identity(const StoredMla& a, const StoredMla& b,
                               const AttentionElement<double>& heads) {
  if (auto reason = refute_latents(a.config, b.config)) return reason;
  if (!is_same(a.weights.query, b.weights.query) || !is_same(a.weights.kv, b.weights.kv))
    return "the projections to latents are not the same";
  return refute_identity(core_of(a), core_of(b), heads);
}

Refutation refute_mla_equivalence(const StoredMla& a, const StoredMla& b, const MlaEvidence& evidence) {
  if (auto reason = refute_latents(a.config, b.config)) return reason;
  if (auto reason = refute_turn(evidence.query_turn, a.config.query_latent, "latents of queries"))
    return reason;
  if (auto reason = refute_turn(evidence.kv_turn, a.config.kv_latent, "latents of keys and values"))
    return reason;
  const TurnedMla both = turned(a, b, evidence.query_turn, evidence.kv_turn);
  if (!both.query_latent.agrees()) return "no turn brings the latents of queries together";
  if (!both.kv_latent.agrees()) return "no turn brings the latents of keys and values together";
  return refute_equivalence(both.a, both.b, evidence.heads);
}

MlaGap measure_gap(const StoredMla& a, const StoredMla& b, const Matrix<double>& tokens, int draws,
                   std::uint64_t seed) {
  Random random(seed);
  const auto noise = [&](const StoredMla& stored, const Matrix<double>& output) {
    const StoredMla module = with_room_for_arithmetic(stored);
    double largest = 0;
    for (int draw = 0; draw < draws; ++draw)
      largest = std::max(largest, (attend(module.config, drawn(module, random), tokens) - output).norm());
    return largest;
  };
  const Matrix<double> output_a = attend(a.config, a.weights, tokens);
  const Matrix<double> output_b = attend(b.config, b.weights, tokens);
  return {(output_a - output_b).norm(), noise(a, output_a) + noise(b, output_b)};
}

std::uint64_t seed_from(const StoredMla& a, const StoredMla& b, const Matrix<double>& tokens,
                        std::uint64_t seed, std::string_view purpose) {
  return HashedRandom(seed, purpose, {digest_of(a), digest_of(b), Hasher().add_all(tokens).digest()}).bits();
}

Refutation refute_mla_witness(const StoredMla& a, const StoredMla& b, const Matrix<double>& tokens) {
  constexpr int draws = 8;
  if (tokens.rows() < 3) return "a witness needs at least three tokens";
  if (!tokens.allFinite()) return "the witness is not finite";
  const MlaGap gap =
      measure_gap(a, b, tokens, draws, seed_from(a, b, tokens, 0, "latent attention, checked"));
  if (gap.strength() >= witness_factor_to_accept) return std::nullopt;
  return "the witness does not separate the modules: their outputs are " + std::to_string(gap.strength()) +
         " times the rounding noise apart";
}

}  // namespace attnsym
