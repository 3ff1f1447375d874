#pragma once

#include "symmetry/scalar.hpp"

namespace attnsym {

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
  bool causal = false;  ///< token n sees tokens 0..n only
  double scale = 1;     ///< s, multiplies q k^T

  /// r: readers (query heads) of one group.
  Index readers_per_group() const { return heads / groups; }

  /// Stored numbers of one module.
  Index parameter_count() const;

  /// @throws ShapeError unless all widths are positive, g divides h and the scale is finite and not zero.
  void validate() const;

  bool operator==(const AttentionConfig&) const = default;
};

}  // namespace attnsym
