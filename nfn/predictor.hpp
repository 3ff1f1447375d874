#pragma once

#include <concepts>
#include <functional>
#include <optional>
#include <vector>

#include "nfn/activation.hpp"
#include "nfn/block_invariant.hpp"
#include "nfn/channel_norm.hpp"
#include "nfn/dense.hpp"
#include "nfn/equivariant_linear.hpp"
#include "nfn/network_weights.hpp"
#include "nfn/sequential.hpp"
#include "symmetry/random.hpp"

namespace attnsym {

/// Tells the derivative of a loss by the outputs, 1 x n, once they are known.
template <Scalar S>
using CotangentOf = std::function<Matrix<S>(const Matrix<S>&)>;

/// A network whose inputs are networks: one number per checkpoint, and its derivative by the parameters.
template <class N, class S>
concept NetworkOnNetworks = std::copyable<N> &&
    requires(N& network, const NetworkWeights<S>& weights, const CotangentOf<S>& cotangent_of) {
  { std::as_const(network)(weights) } -> std::same_as<Matrix<S>>;
  { std::as_const(network).differentiate(weights, cotangent_of) } -> std::same_as<N>;
  { network.parameters() } -> std::same_as<std::vector<ParameterView<S>>>;
};

/// The predictor of arXiv 2410.04209. Every block on its own, with c channels (10 in the paper):
///
///     E 1 -> c, relu on A, B, bA, bB, I c -> c, norm;
///
/// then all blocks together: norm, dense c, norm, relu, dense c, norm, relu, dense c. Classifier: dense c,
/// relu, three times. Embedding: dense c. Last: one dense layer from all of these to one number, before any
/// sigmoid. It is invariant under G_U of every block, in as far as embedding and classifier stay fixed.
///
/// The paper's network for MNIST has 1,812,181 parameters, that of parameter_count(mnist_shape(), 10). It
/// knows heads by their sums only; with `head_features` above 0, BlockInvariant takes the place of I, which
/// sees them one by one through so many features.
template <RealScalar S>
class Predictor {
 public:
  /// All parameters zero, norms the identity. @throws ShapeError unless shape and channels are valid.
  Predictor(const NetworkShape& shape, Index channels, Index head_features = 0);

  /// Drawn as the paper does. @throws as the other.
  Predictor(const NetworkShape& shape, Index channels, Random& random, Index head_features = 0);

  /// The closed form.
  static Index parameter_count(const NetworkShape& shape, Index channels, Index head_features = 0);

  const NetworkShape& shape() const { return shape_; }

  /// block0 ... , head, classifier, embedding, last: views that live as long as the network stays in place.
  std::vector<ParameterView<S>> parameters();

  /// 1 x n. @throws ShapeError unless the weights are those of networks of this shape.
  Matrix<S> operator()(const NetworkWeights<S>& weights) const;

  /// The derivative by the parameters of <cotangent_of(output), output>, in one forward pass. @throws
  /// likewise.
  Predictor differentiate(const NetworkWeights<S>& weights, const CotangentOf<S>& cotangent_of) const;

 private:
  using Encoder = Sequential<EquivariantLinear<S>, PerceptronRelu<S>, BlockInvariant<S>, ChannelNorm<S>>;
  using Head = Sequential<ChannelNorm<S>, Dense<S>, ChannelNorm<S>, Relu<S>, Dense<S>, ChannelNorm<S>,
                          Relu<S>, Dense<S>>;
  using Classifier = Sequential<Dense<S>, Relu<S>, Dense<S>, Relu<S>, Dense<S>, Relu<S>>;

  Predictor(const NetworkShape& shape, Index channels, Index head_features, Random* random);

  // What the last layer reads: head, classifier, embedding below each other.
  Matrix<S> features(const Matrix<S>& encoded, const NetworkWeights<S>& weights) const;

  struct Pass;
  void pull_back_blocks(std::size_t first, Pass& pass) const;
  void pull_back_features(Pass& pass) const;

  NetworkShape shape_;
  Index channels_;
  Index head_features_;
  std::vector<Encoder> encoders_;  // one per block
  Head head_;
  std::optional<Classifier> classifier_;  // where there is one
  std::optional<Dense<S>> embedding_;     // likewise
  Dense<S> last_;
};

/// The networks of the paper's MNIST set: two blocks of width 32 with 2 heads and 64 hidden units, patches of
/// 4 x 4 pixels, and a classifier with one hidden layer.
NetworkShape mnist_shape();

/// What knows nothing of symmetry, for comparison: all weights in one column, two dense layers of this width
/// (50 in the paper) with relu, and a dense layer to one number.
template <RealScalar S>
class FlatPredictor {
 public:
  /// All parameters zero. @throws ShapeError unless shape and width are valid.
  FlatPredictor(const NetworkShape& shape, Index width);

  /// @throws as the other.
  FlatPredictor(const NetworkShape& shape, Index width, Random& random);

  const NetworkShape& shape() const { return shape_; }
  std::vector<ParameterView<S>> parameters() { return layers_.parameters(); }

  /// As those of Predictor.
  Matrix<S> operator()(const NetworkWeights<S>& weights) const;
  FlatPredictor differentiate(const NetworkWeights<S>& weights, const CotangentOf<S>& cotangent_of) const;

 private:
  using Layers = Sequential<Dense<S>, Relu<S>, Dense<S>, Relu<S>, Dense<S>>;

  FlatPredictor(const NetworkShape& shape, Index width, Random* random);

  NetworkShape shape_;
  Layers layers_;
};

extern template class Predictor<float>;
extern template class Predictor<double>;
extern template class Predictor<Float50>;
extern template class FlatPredictor<float>;
extern template class FlatPredictor<double>;
extern template class FlatPredictor<Float50>;

static_assert(NetworkOnNetworks<Predictor<float>, float>);
static_assert(NetworkOnNetworks<FlatPredictor<float>, float>);

}  // namespace attnsym
