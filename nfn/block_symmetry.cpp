#include "nfn/block_symmetry.hpp"

#include "symmetry/matrix_products.hpp"
#include "symmetry/symmetry_group.hpp"

namespace attnsym {
namespace {

template <Scalar S>
void require_fits(const BlockElement<S>& g, const BlockShape& shape) {
  require_same_size("the element's heads and the block's", head_moves(g).local.size(), shape.heads);
  for (const HeadGauges<S>& gauges : head_moves(g).local) {
    require_same_size("a QK gauge and the key width", gauges.first.size(), shape.key_width);
    require_same_size("a VO gauge and the value width", gauges.second.size(), shape.value_width);
  }
  require_same_size("the element's model order and the model width", model_order(g).size(),
                    shape.model_width);
  if (shape.residual && !(model_order(g) == Permutation::identity(shape.model_width)))
    throw ShapeError("a residual connection allows no other order of the model coordinates");
  require_same_size("the element's hidden order and the hidden width", hidden_order(g).size(),
                    shape.hidden_width);
}

// Multiplies the columns of every head from the right by the matrix that side(gauges of the head) tells, and
// puts them at the head's new place.
template <Scalar S, class Side>
Matrix<S> move_heads(const Wreath<HeadGauges<S>>& moves, const Matrix<S>& tensor, Side side) {
  const Index heads = moves.top.size();
  Matrix<S> moved(tensor.rows(), tensor.cols());
  const Index width = side(moves.local[0]).rows();
  for (Index first = 0; first < tensor.cols(); first += heads * width) {
    for (Index i = 0; i < heads; ++i) {
      moved.middleCols(first + moves.top(i) * width, width) =
          multiply(tensor.middleCols(first + i * width, width), side(moves.local[i]));
    }
  }
  return moved;
}

template <Scalar S>
Matrix<S> permute_model(const Permutation& order, const Matrix<S>& tensor) {
  Matrix<S> moved(tensor.rows(), tensor.cols());
  for (Index first = 0; first < tensor.rows(); first += order.size()) {
    for (Index j = 0; j < order.size(); ++j) moved.row(first + order(j)) = tensor.row(first + j);
  }
  return moved;
}

template <Scalar S>
Matrix<S> permute_hidden(const Permutation& order, const Matrix<S>& tensor) {
  Matrix<S> moved(tensor.rows(), tensor.cols());
  for (Index first = 0; first < tensor.cols(); first += order.size()) {
    for (Index k = 0; k < order.size(); ++k) moved.col(first + order(k)) = tensor.col(first + k);
  }
  return moved;
}

Permutation random_order(Random& random, Index size, bool move) {
  std::vector<Index> image = Permutation::identity(size).image();
  for (Index i = size - 1; move && i > 0; --i) std::swap(image[i], image[random.below(i + 1)]);
  return Permutation::from_image(std::move(image));
}

// Times 1/2, 1 or 2: without this all gauges would have determinant one, up to sign.
template <Scalar S>
GeneralLinear<S> rescaled(Random& random, const GeneralLinear<S>& gauge) {
  const S factor = S(1 << random.below(3)) / S(2);
  return GeneralLinear<S>::from_matrix_and_inverse(gauge.matrix() * factor, gauge.inverse_matrix() / factor);
}

// One integer shear, or a sign where there is but one coordinate, with its inverse.
GeneralLinear<Rational> random_shear(Random& random, Index size) {
  Matrix<Rational> matrix = Matrix<Rational>::Identity(size, size);
  Matrix<Rational> inverse = matrix;
  if (size == 1) {
    matrix(0, 0) = inverse(0, 0) = random.below(2) == 0 ? 1 : -1;
  } else {
    const Index i = random.below(size);
    const Index j = (i + 1 + random.below(size - 1)) % size;
    matrix(i, j) = random.below(5) - 2;
    inverse(i, j) = -matrix(i, j);
  }
  return GeneralLinear<Rational>::from_matrix_and_inverse(matrix, inverse);
}

GeneralLinear<Rational> random_exact_gauge(Random& random, Index size, bool move) {
  GeneralLinear<Rational> gauge = GeneralLinear<Rational>::identity(size);
  if (!move) return gauge;
  Matrix<Rational> monomial = Matrix<Rational>::Zero(size, size);
  const Permutation order = random_order(random, size, true);
  for (Index k = 0; k < size; ++k) monomial(order(k), k) = random.below(2) == 0 ? 1 : -1;
  gauge = GeneralLinear<Rational>::from_matrix_and_inverse(monomial, monomial.transpose());
  for (Index step = 0; step < size; ++step) gauge = compose(random_shear(random, size), gauge);
  return rescaled(random, gauge);
}

Wreath<HeadGauges<Rational>> sample_exact_heads(const BlockShape& shape, Random& random,
                                                const BlockSampleOptions& options) {
  Wreath<HeadGauges<Rational>> moves{{}, random_order(random, shape.heads, options.heads)};
  for (Index i = 0; i < shape.heads; ++i) {
    GeneralLinear<Rational> qk = random_exact_gauge(random, shape.key_width, options.qk);
    moves.local.push_back({std::move(qk), random_exact_gauge(random, shape.value_width, options.vo)});
  }
  return moves;
}

// The heads' part is that of an attention module without biases.
template <RealScalar S>
Wreath<HeadGauges<S>> sample_heads(const BlockShape& shape, Random& random,
                                   const BlockSampleOptions& options) {
  const AttentionConfig attention{shape.model_width, shape.heads, shape.heads, shape.key_width,
                                  shape.value_width};
  const SampleOptions wanted{
      .condition = options.condition, .heads = options.heads, .qk = options.qk, .vo = options.vo};
  const auto element = symmetry_of(attention).sample<S>(random, wanted);
  Wreath<HeadGauges<S>> moves{{}, element.top};
  for (const GroupMove<S>& move : element.local) {
    const GeneralLinear<S>& qk = qk_gauge(move).linear;
    const GeneralLinear<S>& vo = vo_gauge(move).linear;
    moves.local.push_back({options.qk ? rescaled(random, qk) : qk, options.vo ? rescaled(random, vo) : vo});
  }
  return moves;
}

}  // namespace

template <Scalar S>
WeightFeatures<S> act(const BlockElement<S>& g, const WeightFeatures<S>& features) {
  require_consistent(features);
  require_fits(g, features.shape);
  using Gauges = HeadGauges<S>;
  const Wreath<Gauges>& heads = head_moves(g);
  WeightFeatures<S> moved = features;
  moved.query = move_heads(heads, features.query, [](const Gauges& a) { return a.first.inverse_matrix(); });
  moved.key = move_heads(heads, features.key,
                         [](const Gauges& a) { return Matrix<S>(a.first.matrix().transpose()); });
  moved.value = move_heads(heads, features.value,
                           [](const Gauges& a) { return Matrix<S>(a.second.matrix().transpose()); });
  moved.output = permute_model(model_order(g), move_heads(heads, features.output, [](const Gauges& a) {
                                 return a.second.inverse_matrix();
                               }));
  moved.norm_gain = permute_model(model_order(g), features.norm_gain);
  moved.norm_bias = permute_model(model_order(g), features.norm_bias);
  moved.up = permute_hidden(hidden_order(g), permute_model(model_order(g), features.up));
  moved.down = permute_hidden(hidden_order(g), features.down);
  moved.up_bias = permute_hidden(hidden_order(g), features.up_bias);
  return moved;
}

template <Scalar S>
BlockElement<S> identity_element(const BlockShape& shape) {
  const HeadGauges<S> gauges{GeneralLinear<S>::identity(shape.key_width),
                             GeneralLinear<S>::identity(shape.value_width)};
  return {{std::vector<HeadGauges<S>>(shape.heads, gauges), Permutation::identity(shape.heads)},
          {Permutation::identity(shape.model_width), Permutation::identity(shape.hidden_width)}};
}

template <Scalar S>
BlockElement<S> sample_element(const BlockShape& shape, Random& random, const BlockSampleOptions& options) {
  shape.validate();
  Wreath<HeadGauges<S>> heads = [&] {
    if constexpr (RealScalar<S>) {
      return sample_heads<S>(shape, random, options);
    } else {
      return sample_exact_heads(shape, random, options);
    }
  }();
  Permutation model = random_order(random, shape.model_width, options.model && !shape.residual);
  return {std::move(heads), {std::move(model), random_order(random, shape.hidden_width, options.hidden)}};
}

template WeightFeatures<float> act(const BlockElement<float>&, const WeightFeatures<float>&);
template WeightFeatures<double> act(const BlockElement<double>&, const WeightFeatures<double>&);
template WeightFeatures<Float50> act(const BlockElement<Float50>&, const WeightFeatures<Float50>&);
template WeightFeatures<Rational> act(const BlockElement<Rational>&, const WeightFeatures<Rational>&);

template BlockElement<float> identity_element(const BlockShape&);
template BlockElement<double> identity_element(const BlockShape&);
template BlockElement<Float50> identity_element(const BlockShape&);
template BlockElement<Rational> identity_element(const BlockShape&);

template BlockElement<float> sample_element(const BlockShape&, Random&, const BlockSampleOptions&);
template BlockElement<double> sample_element(const BlockShape&, Random&, const BlockSampleOptions&);
template BlockElement<Float50> sample_element(const BlockShape&, Random&, const BlockSampleOptions&);
template BlockElement<Rational> sample_element(const BlockShape&, Random&, const BlockSampleOptions&);

}  // namespace attnsym
