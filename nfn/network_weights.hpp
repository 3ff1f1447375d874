#pragma once

#include <span>
#include <vector>

#include "nfn/weight_features.hpp"

namespace attnsym {

/// What a transformer is made of, apart from its numbers.
struct NetworkShape {
  std::vector<BlockShape> blocks;
  Index embedding = 0;   ///< numbers in the embedding; 0 if it takes no part
  Index classifier = 0;  ///< numbers in the classifier, likewise

  /// Numbers in all of them.
  Index parameters() const;

  /// @throws ShapeError unless there is a block, all are valid and none has a gain and bias in its inner
  /// norm.
  void validate() const;

  bool operator==(const NetworkShape&) const = default;
};

/// The weights of whole transformers, n of one shape: what predictors read. Embedding and classifier have no
/// symmetry that we use, so they are lists of numbers.
template <Scalar S>
struct NetworkWeights {
  std::vector<WeightFeatures<S>> blocks;  ///< one channel each
  Matrix<S> embedding;                    ///< numbers x n
  Matrix<S> classifier;                   ///< numbers x n

  Index batch() const { return embedding.cols(); }
  NetworkShape shape() const;

  /// @throws ShapeError unless the shape is valid.
  static NetworkWeights zero(const NetworkShape& shape, Index batch);
};

/// @throws ShapeError unless every part has one channel, the shape stated and as many checkpoints as the
/// embedding.
template <Scalar S>
void require_consistent(const NetworkWeights<S>& weights, const NetworkShape& shape);

/// The networks at these places, in this order.
template <Scalar S>
NetworkWeights<S> select(const NetworkWeights<S>& weights, std::span<const Index> places);

/// All numbers of a network in one column: the blocks, tensor by tensor, embedding, classifier.
template <Scalar S>
Matrix<S> flatten(const NetworkWeights<S>& weights);

}  // namespace attnsym
