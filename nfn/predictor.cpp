#include "nfn/predictor.hpp"

#include "nfn/initialization.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// Layers with the parameters that `random` draws, zero without one.
template <class S>
Dense<S> dense(Index inputs, Index outputs, Random* random) {
  Dense<S> layer(inputs, outputs);
  if (random != nullptr) initialize(layer, *random);
  return layer;
}

template <class Layer>
Layer on_block(Layer layer, const BlockShape& shape, Random* random) {
  if (random != nullptr) initialize(layer, shape, *random);
  return layer;
}

const NetworkShape& validated(const NetworkShape& shape) {
  shape.validate();
  return shape;
}

template <class S>
void append(std::vector<ParameterView<S>>& all, const std::string& prefix,
            std::vector<ParameterView<S>> more) {
  for (ParameterView<S>& view : more) {
    view.name = prefix + "." + view.name;
    all.push_back(std::move(view));
  }
}

Index dense_count(Index inputs, Index outputs) { return (inputs + 1) * outputs; }

}  // namespace

template <RealScalar S>
Predictor<S>::Predictor(const NetworkShape& shape, Index channels, Index head_features)
    : Predictor(shape, channels, head_features, nullptr) {}

template <RealScalar S>
Predictor<S>::Predictor(const NetworkShape& shape, Index channels, Random& random, Index head_features)
    : Predictor(shape, channels, head_features, &random) {}

template <RealScalar S>
Predictor<S>::Predictor(const NetworkShape& shape, Index c, Index head_features, Random* random)
    : shape_(validated(shape)),
      channels_(c),
      head_features_(head_features),
      head_(ChannelNorm<S>(c * static_cast<Index>(shape.blocks.size())),
            dense<S>(c * static_cast<Index>(shape.blocks.size()), c, random), ChannelNorm<S>(c), Relu<S>(),
            dense<S>(c, c, random), ChannelNorm<S>(c), Relu<S>(), dense<S>(c, c, random)),
      last_(dense<S>(c * (1 + (shape.classifier > 0 ? 1 : 0) + (shape.embedding > 0 ? 1 : 0)), 1, random)) {
  for (const BlockShape& block : shape.blocks) {
    const Index d = block.model_width;
    encoders_.push_back(Encoder(on_block(EquivariantLinear<S>(d, 1, c), block, random), PerceptronRelu<S>(),
                                on_block(BlockInvariant<S>(d, c, c, head_features), block, random),
                                ChannelNorm<S>(c)));
  }
  if (shape.classifier > 0) {
    classifier_.emplace(dense<S>(shape.classifier, c, random), Relu<S>(), dense<S>(c, c, random), Relu<S>(),
                        dense<S>(c, c, random), Relu<S>());
  }
  if (shape.embedding > 0) embedding_ = dense<S>(shape.embedding, c, random);
}

template <RealScalar S>
Index Predictor<S>::parameter_count(const NetworkShape& shape, Index c, Index head_features) {
  const auto blocks = static_cast<Index>(shape.blocks.size());
  const Index norm = 2 * c;  // gain and bias
  Index count = blocks * norm + dense_count(blocks * c, c) + 2 * (norm + dense_count(c, c));
  Index parts = 1;
  for (const BlockShape& block : shape.blocks) {
    const Index d = block.model_width;
    count += EquivariantLinear<S>::parameter_count(d, 1, c) +
             BlockInvariant<S>::parameter_count(d, c, c, head_features) + norm;
  }
  if (shape.classifier > 0) {
    count += dense_count(shape.classifier, c) + 2 * dense_count(c, c);
    ++parts;
  }
  if (shape.embedding > 0) {
    count += dense_count(shape.embedding, c);
    ++parts;
  }
  return count + dense_count(parts * c, 1);
}

template <RealScalar S>
std::vector<ParameterView<S>> Predictor<S>::parameters() {
  std::vector<ParameterView<S>> all;
  for (std::size_t b = 0; b < encoders_.size(); ++b) {
    append(all, "block" + std::to_string(b), encoders_[b].parameters());
  }
  append(all, "head", head_.parameters());
  if (classifier_) append(all, "classifier", classifier_->parameters());
  if (embedding_) append(all, "embedding", embedding_->parameters());
  append(all, "last", last_.parameters());
  return all;
}

template <RealScalar S>
Matrix<S> Predictor<S>::features(const Matrix<S>& encoded, const NetworkWeights<S>& weights) const {
  Matrix<S> all(last_.inputs(), weights.batch());
  Index row = channels_;
  all.topRows(row) = head_(encoded);
  if (classifier_) {
    all.middleRows(row, channels_) = (*classifier_)(weights.classifier);
    row += channels_;
  }
  if (embedding_) all.middleRows(row, channels_) = (*embedding_)(weights.embedding);
  return all;
}

template <RealScalar S>
Matrix<S> Predictor<S>::operator()(const NetworkWeights<S>& weights) const {
  require_consistent(weights, shape_);
  Matrix<S> encoded(channels_ * static_cast<Index>(encoders_.size()), weights.batch());
  for (std::size_t b = 0; b < encoders_.size(); ++b) {
    encoded.middleRows(static_cast<Index>(b) * channels_, channels_) = encoders_[b](weights.blocks[b]);
  }
  return last_(features(encoded, weights));
}

// What one pass knows so far, and the derivatives that it leaves.
template <RealScalar S>
struct Predictor<S>::Pass {
  const NetworkWeights<S>& weights;
  const CotangentOf<S>& cotangent_of;
  Matrix<S> encoded;     // the encoders' outputs below each other
  Matrix<S> by_encoded;  // the derivative by them
  Predictor by;
};

template <RealScalar S>
Predictor<S> Predictor<S>::differentiate(const NetworkWeights<S>& weights,
                                         const CotangentOf<S>& cotangent_of) const {
  require_consistent(weights, shape_);
  const Index rows = channels_ * static_cast<Index>(encoders_.size());
  Pass pass{weights,
            cotangent_of,
            Matrix<S>(rows, weights.batch()),
            {},
            Predictor(shape_, channels_, head_features_)};
  pull_back_blocks(0, pass);
  return std::move(pass.by);
}

// An encoder that has run forward waits for its cotangent while the next ones run.
template <RealScalar S>
void Predictor<S>::pull_back_blocks(std::size_t first, Pass& pass) const {
  if (first == encoders_.size()) return pull_back_features(pass);
  const Index row = static_cast<Index>(first) * channels_;
  auto gradients = encoders_[first].differentiate(pass.weights.blocks[first], [&](const Matrix<S>& output) {
    pass.encoded.middleRows(row, channels_) = output;
    pull_back_blocks(first + 1, pass);
    return Matrix<S>(pass.by_encoded.middleRows(row, channels_));
  });
  pass.by.encoders_[first] = std::move(gradients.parameters);
}

template <RealScalar S>
void Predictor<S>::pull_back_features(Pass& pass) const {
  const Matrix<S> all = features(pass.encoded, pass.weights);
  auto last = last_.backward(all, pass.cotangent_of(last_(all)));
  pass.by.last_ = std::move(last.parameters);
  auto head = head_.backward(pass.encoded, last.input.topRows(channels_));
  pass.by.head_ = std::move(head.parameters);
  pass.by_encoded = std::move(head.input);
  Index row = channels_;
  if (classifier_) {
    const Matrix<S> cotangent = last.input.middleRows(row, channels_);
    pass.by.classifier_ = classifier_->backward(pass.weights.classifier, cotangent).parameters;
    row += channels_;
  }
  if (embedding_) {
    const Matrix<S> cotangent = last.input.middleRows(row, channels_);
    pass.by.embedding_ = embedding_->backward(pass.weights.embedding, cotangent).parameters;
  }
}

NetworkShape mnist_shape() {
  const BlockShape block{32, 2, 16, 16, 64};
  const Index pixels = 4 * 4;
  const Index digits = 10;
  const Index width = block.model_width;
  return {{block, block}, width * pixels + width, width * width + width + digits * width + digits};
}

template <RealScalar S>
FlatPredictor<S>::FlatPredictor(const NetworkShape& shape, Index width)
    : FlatPredictor(shape, width, nullptr) {}

template <RealScalar S>
FlatPredictor<S>::FlatPredictor(const NetworkShape& shape, Index width, Random& random)
    : FlatPredictor(shape, width, &random) {}

template <RealScalar S>
FlatPredictor<S>::FlatPredictor(const NetworkShape& shape, Index width, Random* random)
    : shape_(validated(shape)),
      layers_(dense<S>(shape.parameters(), width, random), Relu<S>(), dense<S>(width, width, random),
              Relu<S>(), dense<S>(width, 1, random)) {}

template <RealScalar S>
Matrix<S> FlatPredictor<S>::operator()(const NetworkWeights<S>& weights) const {
  require_consistent(weights, shape_);
  return layers_(flatten(weights));
}

template <RealScalar S>
FlatPredictor<S> FlatPredictor<S>::differentiate(const NetworkWeights<S>& weights,
                                                 const CotangentOf<S>& cotangent_of) const {
  require_consistent(weights, shape_);
  FlatPredictor by = *this;
  by.layers_ = layers_.differentiate(flatten(weights), cotangent_of).parameters;
  return by;
}

template class Predictor<float>;
template class Predictor<double>;
template class Predictor<Float50>;
template class FlatPredictor<float>;
template class FlatPredictor<double>;
template class FlatPredictor<Float50>;

}  // namespace attnsym
