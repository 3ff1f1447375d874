#pragma once

#include <string>
#include <vector>

#include "symmetry/attention_weights.hpp"
#include "symmetry/transformer_config.hpp"

namespace attnsym {

/// What multiplies a normalised token, entry by entry, and is added to it. Both empty where there is no norm.
template <Scalar S>
struct Norm {
  RowVector<S> gain;  ///< D, as it multiplies, whatever a file adds to it
  RowVector<S> bias;  ///< D, of a LayerNorm; else empty
};

/// See MlpConfig. Neuron k is column k of up and gate, and row k of down.
template <Scalar S>
struct Mlp {
  Matrix<S> up;            ///< U, D x m
  Matrix<S> gate;          ///< G, D x m, or empty
  Matrix<S> down;          ///< W, m x D
  RowVector<S> up_bias;    ///< bu, m, or empty
  RowVector<S> gate_bias;  ///< bg, m, or empty
  RowVector<S> down_bias;  ///< bw, D, or empty
};

template <Scalar S>
struct Block {
  Norm<S> attention_input;   ///< in front of attention, and of the MLP where they share it
  Norm<S> attention_output;  ///< behind it: of what it adds, or of the sum (NormPlacement)
  Norm<S> mlp_input;
  Norm<S> mlp_output;
  AttentionWeights<S> attention;
  Mlp<S> mlp;
};

/// See TransformConfig; all empty where there is none.
template <Scalar S>
struct Transform {
  Matrix<S> dense;    ///< W, D x width
  RowVector<S> bias;  ///< b
  Norm<S> norm;       ///< width
};

/// See TaskConfig.
template <Scalar S>
struct Task {
  Transform<S> transform;
  Matrix<S> output;  ///< width of the transform or D x outputs, or empty
  RowVector<S> output_bias;
};

/// The weights of a transformer; tokens are rows of a table, logits belong to rows of another.
template <Scalar S>
struct TransformerWeights {
  Matrix<S> embedding;    ///< V x D
  Matrix<S> positions;    ///< one row per position, D wide, or empty where none are learned
  Matrix<S> token_types;  ///< likewise
  Norm<S> embedding_norm;
  std::vector<Block<S>> blocks;
  Norm<S> final_norm;
  Matrix<S> unembedding;   ///< V x D, or as wide as its transform; empty if tied or absent
  RowVector<S> head_bias;  ///< V, or empty
  Transform<S> head_transform;
  std::vector<Task<S>> tasks;
};

/// @throws ShapeError naming the first tensor whose shape the config does not allow, with both shapes.
template <Scalar S>
void require_fits(const Norm<S>& norm, const TransformerConfig& config, bool present,
                  const std::string& name);
template <Scalar S>
void require_fits(const Mlp<S>& mlp, const TransformerConfig& config);
template <Scalar S>
void require_fits(const Block<S>& block, const TransformerConfig& config, Index layer);
template <Scalar S>
void require_fits(const TransformerWeights<S>& weights, const TransformerConfig& config);

/// The same numbers in another scalar.
template <Scalar To, Scalar From>
TransformerWeights<To> cast(const TransformerWeights<From>& weights);

/// Calls visit(slot) on every matrix and row of a block, empty ones included.
template <class BlockWeights, class Visit>
void for_each_block_slot(BlockWeights& block, Visit visit) {
  for (auto* norm : {&block.attention_input, &block.attention_output, &block.mlp_input, &block.mlp_output}) {
    visit(norm->gain);
    visit(norm->bias);
  }
  for_each_slot(block.attention, visit);
  visit(block.mlp.up);
  visit(block.mlp.gate);
  visit(block.mlp.down);
  visit(block.mlp.up_bias);
  visit(block.mlp.gate_bias);
  visit(block.mlp.down_bias);
}

/// The same of what a transform and a task have.
template <class Weights, class Visit>
void for_each_transform_slot(Weights& transform, Visit visit) {
  visit(transform.dense);
  visit(transform.bias);
  visit(transform.norm.gain);
  visit(transform.norm.bias);
}

template <class Weights, class Visit>
void for_each_task_slot(Weights& task, Visit visit) {
  for_each_transform_slot(task.transform, visit);
  visit(task.output);
  visit(task.output_bias);
}

/// The same of a whole model.
template <class Weights, class Visit>
void for_each_transformer_slot(Weights& weights, Visit visit) {
  visit(weights.embedding);
  visit(weights.positions);
  visit(weights.token_types);
  visit(weights.embedding_norm.gain);
  visit(weights.embedding_norm.bias);
  for (auto& block : weights.blocks) for_each_block_slot(block, visit);
  visit(weights.final_norm.gain);
  visit(weights.final_norm.bias);
  visit(weights.unembedding);
  visit(weights.head_bias);
  for_each_transform_slot(weights.head_transform, visit);
  for (auto& task : weights.tasks) for_each_task_slot(task, visit);
}

}  // namespace attnsym
