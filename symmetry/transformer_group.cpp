#include "symmetry/transformer_group.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// p(0), p(1), ... uniformly at random.
Permutation random_permutation(Random& random, Index size) {
  std::vector<Index> image(static_cast<std::size_t>(size));
  for (Index i = 0; i < size; ++i) image[static_cast<std::size_t>(i)] = i;
  for (Index i = size - 1; i > 0; --i)
    std::swap(image[static_cast<std::size_t>(i)], image[static_cast<std::size_t>(random.below(i + 1))]);
  return Permutation::from_image(std::move(image));
}

double random_sign(Random& random) { return random.below(2) == 0 ? 1 : -1; }

// Between 1/2 and 2, like the gauges of a small condition.
double random_scale(Random& random) { return std::exp2(random.uniform()); }

NeuronMove random_neurons(Random& random, const MlpConfig& config) {
  NeuronMove move = identity_move(config.width);
  move.order = random_permutation(random, config.width);
  const bool is_relu = config.activation == Activation::Relu;
  for (Index k = 0; k < config.width; ++k) {
    if (config.gated) move.scale(k) = random_sign(random) * random_scale(random);
    if (!config.gated && is_relu) move.scale(k) = random_scale(random);
    if (config.gated && is_relu) move.gate_scale(k) = random_scale(random);
  }
  return move;
}

// The columns of a Gaussian matrix made orthonormal, by Gram-Schmidt twice.
// @param keeps_ones  whether rows keep the sum of their entries
Matrix<double> random_orthogonal(Random& random, Index width, bool keeps_ones) {
  Matrix<double> q(width, width);
  for (Index k = 0; k < width; ++k) {
    RowVector<double> column(width);
    for (Index i = 0; i < width; ++i) column(i) = keeps_ones && k == 0 ? 1 : random.normal();
    for (int pass = 0; pass < 2; ++pass) {
      for (Index j = 0; j < k; ++j) column -= column.dot(q.col(j)) * q.col(j).transpose();
    }
    q.col(k) = column.transpose().normalized();
  }
  if (!keeps_ones) return q;
  // In this basis the first vector stays and the others are exchanged for random ones.
  const Matrix<double> other = random_orthogonal(random, width - 1, false);
  Matrix<double> turned = q;
  turned.rightCols(width - 1) = q.rightCols(width - 1) * other;
  return q * turned.transpose();
}

Matrix<double> permutation_matrix(const Permutation& order) {
  Matrix<double> q = Matrix<double>::Zero(order.size(), order.size());
  for (Index k = 0; k < order.size(); ++k) q(k, order(k)) = 1;
  return q;
}

bool is_orthogonal(const Matrix<double>& q) {
  const Matrix<double> product = q.transpose() * q;
  return is_close(product, Matrix<double>::Identity(q.cols(), q.cols()), 100);
}

template <class Parts>
Parts zipped(const Parts& g, const Parts& h) {
  require_same_size("elements of models", g.size(), h.size());
  Parts result;
  for (std::size_t i = 0; i < g.size(); ++i) result.push_back(compose(g[i], h[i]));
  return result;
}

}  // namespace

TransformerElement compose(const TransformerElement& g, const TransformerElement& h) {
  // g's shift is added where h has moved the stream already.
  return {zipped(g.attention, h.attention), zipped(g.neurons, h.neurons),
          h.shift + g.shift * h.stream.matrix.transpose(), compose(g.stream, h.stream)};
}

TransformerElement inverse(const TransformerElement& g) {
  TransformerElement result{{}, {}, -(g.shift * g.stream.matrix), inverse(g.stream)};
  for (const auto& part : g.attention) result.attention.push_back(inverse(part));
  for (const auto& part : g.neurons) result.neurons.push_back(inverse(part));
  return result;
}

TransformerElement identity_like(const TransformerElement& g) {
  TransformerElement result{{}, {}, RowVector<double>::Zero(g.shift.size()), identity_like(g.stream)};
  for (const auto& part : g.attention) result.attention.push_back(identity_like(part));
  for (const auto& part : g.neurons) result.neurons.push_back(identity_like(part));
  return result;
}

Block<double> act(const TransformerElement& element, Index layer, const Block<double>& block) {
  const auto at = static_cast<std::size_t>(layer);
  require_same_size("an element and the blocks of a model", std::max(at + 1, element.attention.size()),
                    element.attention.size());
  Block<double> moved = block;
  moved.attention = act(element.attention[at], block.attention);
  moved.mlp = act(element.neurons[at], block.mlp);
  return act(element.stream, moved);
}

TransformerWeights<double> act(const TransformerElement& element, const TransformerWeights<double>& weights) {
  require_same_size("an element and the blocks of a model", element.attention.size(), weights.blocks.size());
  TransformerWeights<double> moved = weights;
  if (moved.positions.size() > 0) {
    moved.embedding.rowwise() += element.shift;
    moved.positions.rowwise() -= element.shift;
  } else if (!element.shift.isZero(0)) {
    throw ShapeError("embeddings cannot be shifted in a model without positions");
  }
  for (std::size_t layer = 0; layer < moved.blocks.size(); ++layer) {
    moved.blocks[layer].attention = act(element.attention[layer], moved.blocks[layer].attention);
    moved.blocks[layer].mlp = act(element.neurons[layer], moved.blocks[layer].mlp);
  }
  return act(element.stream, std::move(moved));
}

TransformerGroup::TransformerGroup(TransformerConfig config) : config_(std::move(config)) {
  config_.validate();
}

TransformerGroup::Stream TransformerGroup::stream() const {
  const bool is_layer = config_.norm == NormKind::Layer;
  if (config_.head == Head::None || !config_.fixed_positions.empty()) return Stream::Fixed;
  if (config_.ends_in_stream()) return Stream::Places;
  const bool can_fold = config_.placement == NormPlacement::Before && config_.final_norm &&
                        config_.head != Head::Tied && !config_.embedding_norm;
  if (can_fold) return is_layer ? Stream::Centred : Stream::Orthogonal;
  return is_layer ? Stream::Permutations : Stream::SignedPermutations;
}

// Tied embeddings are also read, where a shift shows.
bool TransformerGroup::shifts_tables() const {
  return config_.learns_positions() && config_.head != Head::Tied && config_.embedding_scale == 1 &&
         !config_.class_token;
}

TransformerElement TransformerGroup::identity() const {
  TransformerElement result{
      {}, {}, RowVector<double>::Zero(config_.model_width), identity_stream(config_.model_width)};
  for (const AttentionConfig& attention : config_.attention) {
    result.attention.push_back(identity_element<double>(attention));
    result.neurons.push_back(identity_move(config_.mlp.width));
  }
  return result;
}

TransformerElement TransformerGroup::sample(Random& random, const TransformerSampleOptions& options) const {
  const Index width = config_.model_width;
  TransformerElement element = identity();
  for (std::size_t layer = 0; layer < config_.attention.size(); ++layer) {
    element.attention[layer] =
        symmetry_of(config_.attention[layer]).sample<double>(random, options.attention);
    if (options.neurons) element.neurons[layer] = random_neurons(random, config_.mlp);
  }
  if (options.shift && shifts_tables()) {
    for (Index k = 0; k < width; ++k) element.shift(k) = options.attention.shift * random.normal();
  }
  if (!options.stream || stream() == Stream::Fixed) return element;
  if (stream() == Stream::Orthogonal || stream() == Stream::Centred) {
    element.stream.matrix = random_orthogonal(random, width, stream() == Stream::Centred);
    return element;
  }
  element.stream.matrix = permutation_matrix(random_permutation(random, width));
  if (stream() == Stream::Places) return element;
  const double common = random_sign(random);
  for (Index k = 0; k < width; ++k)
    element.stream.matrix.row(k) *= stream() == Stream::Permutations ? common : random_sign(random);
  return element;
}

bool TransformerGroup::contains(const TransformerElement& element) const {
  const Index width = config_.model_width;
  const auto blocks = static_cast<std::size_t>(config_.blocks());
  const Matrix<double>& q = element.stream.matrix;
  if (element.attention.size() != blocks || element.neurons.size() != blocks ||
      element.shift.size() != width || q.rows() != width || q.cols() != width)
    return false;
  for (std::size_t layer = 0; layer < blocks; ++layer) {
    if (!symmetry_of(config_.attention[layer]).contains(element.attention[layer])) return false;
    if (!allows(config_.mlp, element.neurons[layer])) return false;
  }
  if (!element.shift.allFinite() || (!shifts_tables() && !element.shift.isZero(0))) return false;
  if (!is_orthogonal(q)) return false;
  const RowVector<double> ones = RowVector<double>::Ones(width);
  const RowVector<double> image = ones * q;
  const bool keeps_mean = is_close(image, ones, 100) || is_close(RowVector<double>(-image), ones, 100);
  switch (stream()) {
    case Stream::Fixed:
      return q.isIdentity(0);
    case Stream::Places:
      return element.stream.is_permutation();
    case Stream::Permutations:
      return element.stream.is_signed_permutation() && keeps_mean;
    case Stream::SignedPermutations:
      return element.stream.is_signed_permutation();
    case Stream::Centred:
      return keeps_mean;
    case Stream::Orthogonal:
      return true;
  }
  return false;
}

}  // namespace attnsym
