#pragma once

#include <optional>
#include <string>

#include "symmetry/transformer_weights.hpp"

namespace attnsym {

/// Why the gain of the final norm cannot be multiplied into what reads behind it; nothing if it can.
std::optional<std::string> final_gain_is_fixed(const TransformerConfig& config);

/// Why gains in front of attention and MLPs cannot; nothing if they can.
std::optional<std::string> gains_are_fixed(const TransformerConfig& config);

/// [N12] A block that computes the same, where the gains of norms in front of attention and MLP are
/// multiplied into their readers and are 1. Biases of norms go into the biases of readers, and are 0, where
/// all of these have biases; else they are divided by the gains.
/// @throws ShapeError if gains_are_fixed, and for a gain of 0 beside a bias that has to stay
Block<double> with_folded_gains(const TransformerConfig& config, Index layer, Block<double> block);

/// The same of the final norm, behind which the head and tasks read.
/// @throws ShapeError if final_gain_is_fixed, and as above
void fold_final_gain(const TransformerConfig& config, TransformerWeights<double>& weights);

/// [N12] Behind a LayerNorm the mean of what is written to the stream is never seen: a block that writes
/// none.
/// @pre writes_means_in_vain(config)
Block<double> with_centred_writers(Block<double> block);

/// Whether all norms that meet the stream are LayerNorms, in front of what reads it.
bool writes_means_in_vain(const TransformerConfig& config);

/// The same of tables. Tied embeddings stay, as they are read, too.
void centre_tables(const TransformerConfig& config, TransformerWeights<double>& weights);

/// A whole model with folded gains wherever they are not fixed, and centred writers where means are not seen.
TransformerWeights<double> folded(const TransformerConfig& config, TransformerWeights<double> weights);

}  // namespace attnsym
