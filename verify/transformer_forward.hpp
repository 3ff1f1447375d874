#pragma once

#include <vector>

#include "symmetry/transformer_weights.hpp"

namespace attnsym {

/// Token ids in the order of their positions.
using Tokens = std::vector<Index>;

/// The reference forward pass of whole models, written from the definitions N1 and N12 and slow on purpose:
/// the stream that tokens enter with, n x D, and a row in front of a class token.
/// @throws ShapeError for a token that there is no row for, or more tokens than positions
template <ForwardScalar S>
Matrix<S> embed(const TransformerConfig& config, const TransformerWeights<S>& weights, const Tokens& tokens);

/// The stream behind block `layer`.
template <ForwardScalar S>
Matrix<S> run_block(const TransformerConfig& config, const Block<S>& block, Index layer,
                    const Matrix<S>& stream);

/// The outputs of the last stream, n x TransformerConfig::output_width. Of the weights only final norm, head,
/// tasks and, where they are tied, embeddings are read.
template <ForwardScalar S>
Matrix<S> read_out(const TransformerConfig& config, const TransformerWeights<S>& weights,
                   const Matrix<S>& stream);

/// All of it.
/// @returns n x output_width; with a class token n + 1 rows
/// @throws ShapeError as embed, and if the weights do not fit the config
template <ForwardScalar S>
Matrix<S> run_transformer(const TransformerConfig& config, const TransformerWeights<S>& weights,
                          const Tokens& tokens);

/// log softmax of every row: what is left of logits where only probabilities count.
template <ForwardScalar S>
Matrix<S> log_probabilities(Matrix<S> logits);

}  // namespace attnsym
