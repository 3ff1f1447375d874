#pragma once

#include <vector>

#include "symmetry/rotary.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values, and queries, are read from
/// latents, which are projections of a token behind an RMS norm with gains; positions turn a part of the
/// queries and one key that all heads share.
///
///     z = x W / (mean((x W)^2) + epsilon)^(1/2) * gain            of queries, dq, and of keys and values, dc
///     score_i = s ( z_q Q_i (z_kv K_i)^T + z_q P_i R^(m-n) (y R)^T )
///     output = sum_i weights_i (z_kv V_i) O_i
struct MlaConfig {
  Index model_width = 0;   ///< D
  Index heads = 0;         ///< h
  Index key_width = 0;     ///< dn, of the part of queries and keys that is not turned
  Index value_width = 0;   ///< dv
  Index query_latent = 0;  ///< dq
  Index kv_latent = 0;     ///< dc
  Rotary rotary{};         ///< of the shared key; its pairs are all of it, dR = 2 pairs
  double scale = 1;        ///< s
  double epsilon = 0;      ///< of the norms of latents
  bool causal = false;

  Index rotary_width() const { return 2 * rotary.pairs(); }

  /// Stored numbers of one module.
  Index parameter_count() const;

  /// @throws ShapeError unless all widths and counts are positive, there is a rotary pair, the gain of rotary
  /// positions is 1, scale and frequencies are finite, the scale is not zero and epsilon not negative.
  void validate() const;

  bool operator==(const MlaConfig&) const = default;
};

/// What makes a latent of n numbers from a token.
template <Scalar S>
struct MlaLatent {
  Matrix<S> down;     ///< W, D x n
  RowVector<S> gain;  ///< n
};

template <Scalar S>
struct MlaHead {
  Matrix<S> query;         ///< Q_i, dq x dn
  Matrix<S> rotary_query;  ///< P_i, dq x dR
  Matrix<S> key;           ///< K_i, dc x dn
  Matrix<S> value;         ///< V_i, dc x dv
  Matrix<S> output;        ///< O_i, dv x D
};

template <Scalar S>
struct MlaWeights {
  MlaLatent<S> query;
  MlaLatent<S> kv;
  Matrix<S> rotary_key;  ///< R, D x dR, shared by all heads
  std::vector<MlaHead<S>> heads;
};

/// Calls visit(slot) on every matrix and row of the module.
template <class Weights, class Visit>
void for_each_mla_slot(Weights& weights, Visit visit) {
  for (auto* latent : {&weights.query, &weights.kv}) {
    visit(latent->down);
    visit(latent->gain);
  }
  visit(weights.rotary_key);
  for (auto& head : weights.heads) {
    visit(head.query);
    visit(head.rotary_query);
    visit(head.key);
    visit(head.value);
    visit(head.output);
  }
}

/// @throws ShapeError if the config is not valid or a tensor has another shape than it says
template <Scalar S>
void require_fits(const MlaWeights<S>& weights, const MlaConfig& config);

}  // namespace attnsym
