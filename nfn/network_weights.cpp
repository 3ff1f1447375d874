#include "nfn/network_weights.hpp"

#include <algorithm>

#include "symmetry/errors.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

// Calls visit(tensor of a, tensor of b) on all that belong together.
template <class A, class B, class Visit>
void for_each_pair(A& a, B& b, Visit visit) {
  for (std::size_t i = 0; i < a.blocks.size(); ++i) {
    for_each_tensor_pair(a.blocks[i], b.blocks[i], visit);
  }
  visit(a.embedding, b.embedding);
  visit(a.classifier, b.classifier);
}

}  // namespace

Index NetworkShape::parameters() const {
  Index count = embedding + classifier;
  for (const BlockShape& b : blocks) {
    count += b.model_width * (2 * b.heads * (b.key_width + b.value_width) + 2 * b.hidden_width + 1) +
             b.hidden_width;
  }
  return count;
}

void NetworkShape::validate() const {
  if (blocks.empty()) throw ShapeError("a network needs a block");
  for (const BlockShape& block : blocks) {
    block.validate();
    if (block.affine_norm) throw ShapeError("a network has no norms with a gain and a bias");
  }
  if (std::min(embedding, classifier) < 0) throw ShapeError("a network has a negative number of weights");
}

template <Scalar S>
NetworkShape NetworkWeights<S>::shape() const {
  NetworkShape result{{}, embedding.rows(), classifier.rows()};
  for (const auto& block : blocks) result.blocks.push_back(block.shape);
  return result;
}

template <Scalar S>
NetworkWeights<S> NetworkWeights<S>::zero(const NetworkShape& shape, Index batch) {
  shape.validate();
  NetworkWeights weights;
  for (const BlockShape& block : shape.blocks) {
    weights.blocks.push_back(WeightFeatures<S>::zero(block, 1, batch));
  }
  weights.embedding = Matrix<S>::Zero(shape.embedding, batch);
  weights.classifier = Matrix<S>::Zero(shape.classifier, batch);
  return weights;
}

template <Scalar S>
void require_consistent(const NetworkWeights<S>& weights, const NetworkShape& shape) {
  if (!(weights.shape() == shape)) throw ShapeError("the weights are those of a network of another shape");
  for (const auto& block : weights.blocks) {
    require_consistent(block, block.shape.model_width, 1);
    require_same_size("the checkpoints of blocks and embedding", block.batch, weights.batch());
  }
  require_same_size("the checkpoints of classifier and embedding", weights.classifier.cols(),
                    weights.batch());
}

template <Scalar S>
NetworkWeights<S> select(const NetworkWeights<S>& weights, std::span<const Index> places) {
  auto chosen = NetworkWeights<S>::zero(weights.shape(), static_cast<Index>(places.size()));
  if (places.empty()) return chosen;
  for_each_pair(weights, chosen, [&](const Matrix<S>& from, Matrix<S>& to) {
    const Index columns = from.cols() / weights.batch();
    Index next = 0;
    for (const Index place : places) {
      to.middleCols(columns * next++, columns) = from.middleCols(columns * place, columns);
    }
  });
  return chosen;
}

template <Scalar S>
Matrix<S> flatten(const NetworkWeights<S>& weights) {
  Matrix<S> flat(weights.shape().parameters(), weights.batch());
  if (weights.batch() == 0) return flat;
  Index row = 0;
  for_each_pair(weights, weights, [&](const Matrix<S>& tensor, const Matrix<S>&) {
    const Index size = tensor.size() / weights.batch();
    flat.middleRows(row, size) = Eigen::Map<const Matrix<S>>(tensor.data(), size, weights.batch());
    row += size;
  });
  return flat;
}

template struct NetworkWeights<float>;
template struct NetworkWeights<double>;
template struct NetworkWeights<Float50>;

template void require_consistent(const NetworkWeights<float>&, const NetworkShape&);
template void require_consistent(const NetworkWeights<double>&, const NetworkShape&);
template void require_consistent(const NetworkWeights<Float50>&, const NetworkShape&);
template NetworkWeights<float> select(const NetworkWeights<float>&, std::span<const Index>);
template NetworkWeights<double> select(const NetworkWeights<double>&, std::span<const Index>);
template NetworkWeights<Float50> select(const NetworkWeights<Float50>&, std::span<const Index>);
template Matrix<float> flatten(const NetworkWeights<float>&);
template Matrix<double> flatten(const NetworkWeights<double>&);
template Matrix<Float50> flatten(const NetworkWeights<Float50>&);

}  // namespace attnsym
