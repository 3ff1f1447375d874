#pragma once

#include <optional>
#include <vector>

#include "symmetry/rotary.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// What multiplies normalised queries and keys, coordinate by coordinate.
enum class QkGains {
  Shared,       ///< one gain for the queries of all heads and one for all keys
  Own,          ///< every query head and every key head has its own
  Temperature,  ///< every query head has one number; keys have none
};

/// RMS norms of queries and keys, before positions turn them: a query q becomes
/// gain q / sqrt(mean(q_k^2) + epsilon).
struct QkNorm {
  double epsilon = 0;
  QkGains gains = QkGains::Shared;
  bool over_all_heads = false;  ///< the mean is over the queries, or keys, of all heads together

  bool operator==(const QkNorm&) const = default;
};

/// Everything about an attention module that is not a weight and decides its function and its group (N1, N5).
struct AttentionConfig {
  Index model_width = 0;  ///< D
  Index heads = 0;        ///< h, query heads
  Index groups = 0;       ///< g, key/value groups; h for MHA, 1 for MQA
  Index key_width = 0;    ///< dk
  Index value_width = 0;  ///< dv
  bool query_bias = false;
  bool key_bias = false;
  bool value_bias = false;
  bool output_bias = false;
  bool causal = false;           ///< token n sees tokens 0..n only
  double scale = 1;              ///< s, multiplies q k^T
  Index window = 0;              ///< token n sees tokens less than this far away only; 0 for no such limit
  Rotary rotary{};               ///< turns queries and keys by their positions
  std::vector<double> slopes{};  ///< ALiBi: head i adds slopes[i] * (key position - query position) to its
                                 ///< logits; empty for none
  std::vector<Index> distance_buckets{};  ///< which number of its table a head adds to a logit, for offsets
                                          ///< key position - query position from -reach to reach; offsets
                                          ///< beyond are like the ends; empty for no table (T5)
  double softcap = 0;                     ///< a logit x becomes softcap * tanh(x / softcap); 0 for none
  bool sinks = false;               ///< every head has a learned logit that takes weight and brings no value
  std::optional<QkNorm> qk_norm{};  ///< if queries and keys are normalised
  bool output_gate = false;     ///< before O_i, what head i attends to at a token x is multiplied, coordinate
                                ///< by coordinate, by sigmoid(x G_i + bg_i)
  bool gate_bias = false;       ///< whether there is bg_i
  bool centred_inputs = false;  ///< the entries of every token add up to zero, as behind a LayerNorm without
                                ///< an affine part; nothing is said about other tokens

  /// r: readers (query heads) of one group.
  Index readers_per_group() const { return heads / groups; }

  /// The slopes of the readers of every group; all empty without ALiBi.
  std::vector<std::vector<double>> slopes_by_group() const;

  /// Whether a head that puts out nothing may have queries and keys of zero: norms without an epsilon would
  /// divide by zero, and norms over all heads would change.
  bool unused_heads_are_free() const {
    return !qk_norm || (qk_norm->epsilon > 0 && !qk_norm->over_all_heads);
  }

  /// Numbers in the table of a head; 0 without tables.
  Index bucket_count() const;

  /// The number of the table that belongs to an offset. @pre there are tables
  Index bucket(Index offset) const;

  /// Whether mask and window let a token see a key at this offset from it.
  bool shows(Index offset) const;

  /// Whether value biases do more than add a constant to the output: beside sinks attention weights do not
  /// sum to one, and a gate is not constant.
  bool value_bias_counts() const { return sinks || output_gate; }

  /// Stored numbers of one module.
  Index parameter_count() const;

  /// Whether both let a token see the same others and make weights of its logits alike, and both have gates
  /// or neither. Heads of modules that do not are never equal, unless they put out nothing [N3].
  bool scores_like(const AttentionConfig& other) const {
    return causal == other.causal && window == other.window && softcap == other.softcap &&
           sinks == other.sinks && output_gate == other.output_gate && rotary.beyond == other.rotary.beyond &&
           norms_like(other);
  }

  /// Whether both normalise queries and keys or neither does, both with an epsilon or both without, and both
  /// head by head or over all heads.
  bool norms_like(const AttentionConfig& other) const {
    return qk_norm.has_value() == other.qk_norm.has_value() &&
           (!qk_norm || ((qk_norm->epsilon > 0) == (other.qk_norm->epsilon > 0) &&
                         qk_norm->over_all_heads == other.qk_norm->over_all_heads));
  }

  /// @throws ShapeError unless all widths are positive, g divides h, the scale is finite and not zero, pairs
  /// fit into the key width, there is a slope for every head or for none, all these numbers are finite, and
  /// the gain of rotary positions is positive, and 1 if a frequency is 0. The epsilon of norms must not be
  /// negative. Buckets are of an odd number of offsets and not negative. Without gates they have no bias.
  void validate() const;

  bool operator==(const AttentionConfig&) const = default;
};

}  // namespace attnsym
