#pragma once

#include <vector>

#include "symmetry/attention_config.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// One query head. It reads the keys and values of its group, hence *reader*.
template <Scalar S>
struct QueryHead {
  Matrix<S> query;               ///< Q_i, D x dk
  Matrix<S> output;              ///< O_i, dv x D
  RowVector<S> query_bias;       ///< bq_i, dk, or empty
  RowVector<S> sink{};           ///< the logit of its sink, 1, or empty
  RowVector<S> gain{};           ///< its own, of its normalised queries: dk, or 1, a temperature; or empty
  RowVector<S> distance_bias{};  ///< its table, of what it adds to logits, one number per bucket; or empty
  Matrix<S> gate{};              ///< G_i, D x dv, of its output gate, or empty
  RowVector<S> gate_bias{};      ///< bg_i, dv, or empty

  bool operator==(const QueryHead& other) const;
};

/// One key/value group with the query heads that read it.
template <Scalar S>
struct KvGroup {
  Matrix<S> key;            ///< K_j, D x dk
  Matrix<S> value;          ///< V_j, D x dv
  RowVector<S> key_bias;    ///< bk_j, dk, or empty
  RowVector<S> value_bias;  ///< bv_j, dv, or empty
  std::vector<QueryHead<S>> readers;
  RowVector<S> gain{};  ///< its own, of its normalised keys: dk, or empty

  bool operator==(const KvGroup& other) const;
};

/// The weights of one attention module in the conventions of N1: tokens are rows, q = x Q + bq. A bias that
/// the module lacks is empty.
template <Scalar S>
struct AttentionWeights {
  std::vector<KvGroup<S>> groups;
  RowVector<S> output_bias;   ///< bo, D, or empty
  RowVector<S> query_gain{};  ///< dk, that the normalised queries of all heads share, or empty
  RowVector<S> key_gain{};    ///< dk, that all keys share, or empty

  /// Exact; different shapes are different.
  bool operator==(const AttentionWeights& other) const;
};

/// @throws ShapeError naming the first tensor whose shape the config does not allow, with both shapes.
template <Scalar S>
void require_fits(const AttentionWeights<S>& weights, const AttentionConfig& config);

/// The same numbers in another scalar; exact from float and double into Rational.
template <Scalar To, Scalar From>
AttentionWeights<To> cast(const AttentionWeights<From>& weights);

/// Calls visit(slot) on every matrix and bias of the module, the one walk that other functions share.
/// Order: per group key, value, key_bias, value_bias, gain, then per reader query, output, query_bias, sink,
/// gain, distance_bias, gate, gate_bias; output_bias, query_gain, key_gain last.
template <class Weights, class Visit>
void for_each_slot(Weights& weights, Visit visit) {
  for (auto& group : weights.groups) {
    visit(group.key);
    visit(group.value);
    visit(group.key_bias);
    visit(group.value_bias);
    visit(group.gain);
    for (auto& reader : group.readers) {
      visit(reader.query);
      visit(reader.output);
      visit(reader.query_bias);
      visit(reader.sink);
      visit(reader.gain);
      visit(reader.distance_bias);
      visit(reader.gate);
      visit(reader.gate_bias);
    }
  }
  visit(weights.output_bias);
  visit(weights.query_gain);
  visit(weights.key_gain);
}

}  // namespace attnsym
