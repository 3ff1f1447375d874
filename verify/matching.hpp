#pragma once

#include <vector>

#include "symmetry/attention_weights.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {

/// Which group of B each group of A became, and which reader each of its readers: a proposal from random
/// probes of the circuits x^T M y, which the caller has to verify [N4].
struct Matching {
  Permutation groups;
  std::vector<Permutation> readers;  ///< per group of A

  /// The head of B that head `head` of A became.
  Index image_of(Index head) const;
};

/// @pre both modules have the same config
Matching match_heads(const AttentionConfig& config, const AttentionWeights<double>& a,
                     const AttentionWeights<double>& b);

}  // namespace attnsym
