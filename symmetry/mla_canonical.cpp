#include "symmetry/mla_canonical.hpp"

#include <algorithm>
#include <numeric>

#include "symmetry/balance.hpp"
#include "symmetry/balance_scores.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/sign_rule.hpp"
#include "symmetry/svd.hpp"

namespace attnsym {
namespace {

// What reads a latent reads the normalised one.
template <RealScalar S>
void fold_gains(MlaWeights<S>& weights) {
  for (MlaHead<S>& head : weights.heads) {
    for (Matrix<S>* reading : {&head.query, &head.rotary_query})
      *reading = (weights.query.gain.asDiagonal() * *reading).eval();
    for (Matrix<S>* reading : {&head.key, &head.value})
      *reading = (weights.kv.gain.asDiagonal() * *reading).eval();
  }
  weights.query.gain.setOnes();
  weights.kv.gain.setOnes();
}

template <RealScalar S>
S smallest_gap(const RowVector<S>& descending) {
  S gap(1);
  for (Index k = 1; k < descending.size(); ++k) {
    if (descending(k) > S(0)) gap = std::min(gap, S((descending(k - 1) - descending(k)) / descending(0)));
  }
  return gap;
}

// Puts a latent on the principal axes of its projection, and what reads it.
// @param readings  n rows each
template <RealScalar S>
S turn_latent(MlaLatent<S>& latent, const std::vector<Matrix<S>*>& readings, bool scale_is_free,
              S coincidence) {
  const Svd<S> svd = thin_svd(latent.down);
  RowVector<S> sigma = svd.sigma;
  for (S& one : sigma) one = one > coincidence * sigma(0) ? one : S(0);
  const Matrix<S> core = sigma.asDiagonal();
  const Fixing<S> fixing = fix_columns<S>(sigma, svd.u, core, sigma, coincidence, Probe::Plain, {});
  Matrix<S> axes = multiply(svd.v, fixing.rotation);
  for (Index k = 0; k < sigma.size(); ++k) {
    if (sigma(k) == S(0)) axes.col(k).setZero();  // a coordinate that is always zero
  }
  const S length = sigma.norm();
  const S scale = scale_is_free && length > S(0) ? S(1) / length : S(1);
  const Matrix<S> down = multiply(latent.down, axes) * scale;
  latent.down.setZero();
  latent.down.leftCols(down.cols()) = down;
  for (Matrix<S>* reading : readings) {
    const Matrix<S> seen = multiply_tn(axes, *reading);
    reading->setZero();
    reading->topRows(seen.rows()) = seen;
  }
  return smallest_gap(sigma);
}

template <RealScalar S>
void turn_latents(MlaWeights<S>& weights, const MlaConfig& config, S coincidence, S& margin) {
  std::vector<Matrix<S>*> of_query;
  std::vector<Matrix<S>*> of_kv;
  for (MlaHead<S>& head : weights.heads) {
    of_query.insert(of_query.end(), {&head.query, &head.rotary_query});
    of_kv.insert(of_kv.end(), {&head.key, &head.value});
  }
  const bool scale_is_free = config.epsilon == 0;
  margin = std::min(turn_latent(weights.query, of_query, scale_is_free, coincidence),
                    turn_latent(weights.kv, of_kv, scale_is_free, coincidence));
}

// @returns the norm of V O, 0 for a head that adds nothing, which becomes zero altogether
template <RealScalar S>
S balance_head(MlaHead<S>& head, S coincidence, S& sign_margin) {
  const Balanced<S> vo = balance<S>(head.output.transpose(), head.value, coincidence);
  if (vo.rank == 0) {
    for (Matrix<S>* slot : {&head.query, &head.rotary_query, &head.key, &head.value, &head.output})
      slot->setZero();
    return S(0);
  }
  head.output = vo.left.transpose();
  head.value = vo.right;
  const Balanced<S> qk = balance<S>(head.query, head.key, coincidence);
  head.query = qk.left;
  head.key = qk.right;
  sign_margin = std::min({sign_margin, vo.sign_margin, qk.sign_margin});
  return vo.sigma.norm();
}

// All heads read one rotary key.
template <RealScalar S>
void balance_rotary(MlaWeights<S>& weights, const MlaConfig& config, S coincidence, S& sign_margin) {
  Matrix<S> queries(config.heads * config.query_latent, config.rotary_width());
  for (Index i = 0; i < config.heads; ++i) {
    queries.middleRows(i * config.query_latent, config.query_latent) =
        weights.heads[static_cast<std::size_t>(i)].rotary_query;
  }
  const BalancedScores<S> scores =
      balance_scores<S>(queries, weights.rotary_key, rotary_blocks(config), coincidence, S(0));
  weights.rotary_key = scores.all.right;
  for (Index i = 0; i < config.heads; ++i) {
    weights.heads[static_cast<std::size_t>(i)].rotary_query =
        scores.all.left.middleRows(i * config.query_latent, config.query_latent);
  }
  sign_margin = std::min(sign_margin, scores.all.sign_margin);
}

}  // namespace

template <RealScalar S>
CanonicalMla<S> canonicalize(const MlaWeights<S>& weights, const MlaConfig& config, S unit) {
  require_fits(weights, config);
  const S coincidence = S(64) * unit;
  CanonicalMla<S> result{.weights = weights};
  fold_gains(result.weights);
  turn_latents(result.weights, config, coincidence, result.latent_margin);
  RowVector<S> sizes(config.heads);
  for (Index i = 0; i < config.heads; ++i) {
    sizes(i) =
        balance_head(result.weights.heads[static_cast<std::size_t>(i)], coincidence, result.sign_margin);
  }
  balance_rotary(result.weights, config, coincidence, result.sign_margin);
  std::vector<std::size_t> order(static_cast<std::size_t>(config.heads));
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater<>(),
                           [&](std::size_t i) { return sizes(static_cast<Index>(i)); });
  std::vector<MlaHead<S>> heads;
  RowVector<S> sorted(config.heads);
  for (const std::size_t i : order) {
    sorted(static_cast<Index>(heads.size())) = sizes(static_cast<Index>(i));
    heads.push_back(result.weights.heads[i]);
  }
  result.weights.heads = std::move(heads);
  result.order_margin = smallest_gap(sorted);
  return result;
}

template CanonicalMla<float> canonicalize(const MlaWeights<float>&, const MlaConfig&, float);
template CanonicalMla<double> canonicalize(const MlaWeights<double>&, const MlaConfig&, double);
template CanonicalMla<Float50> canonicalize(const MlaWeights<Float50>&, const MlaConfig&, Float50);

}  // namespace attnsym
