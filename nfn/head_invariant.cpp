#include "nfn/head_invariant.hpp"

#include "nfn/head_blocks.hpp"
#include "nfn/model_axis.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

// Where the features of one head stand in its column: (c, p, q) of M, (c, p) of the row sums of N, (c, p) of
// its squared row norms, 1.
struct HeadLayout {
  Index width = 0;
  Index channels = 0;

  Index qk(Index c) const { return c * width * width; }
  Index sums(Index c) const { return qk(channels) + c * width; }
  Index squares(Index c) const { return sums(channels) + c * width; }
  Index one() const { return squares(channels); }
  Index size() const { return one() + 1; }
};

// One head of one channel of one checkpoint, D x w, as a view. `place` counts (checkpoint, head).
template <class Tensor>
auto head_of(Tensor& tensor, Index width, Index channel, Index place, Index head_width) {
  return tensor.block(channel * width, place * head_width, width, head_width);
}

template <Scalar S, class Visit>
void for_each_head(const WeightFeatures<S>& features, Visit visit) {
  for (Index place = 0; place < features.batch * features.shape.heads; ++place) {
    for (Index c = 0; c < features.channels; ++c) visit(c, place);
  }
}

// HeadLayout::size() x n h.
template <Scalar S>
Matrix<S> head_features(const WeightFeatures<S>& features) {
  const Index d = features.shape.model_width;
  const Index key = features.shape.key_width;
  const Index value = features.shape.value_width;
  const HeadLayout rows{d, features.channels};
  Matrix<S> result(rows.size(), features.batch * features.shape.heads);
  for_each_head(features, [&](Index c, Index place) {
    // Column-major, so that the second index of M is the fast one: K Q^T.
    Eigen::Map<Matrix<S>>(&result(rows.qk(c), place), d, d) =
        multiply_nt(head_of(features.key, d, c, place, key), head_of(features.query, d, c, place, key));
    const Matrix<S> vo = multiply_nt(head_of(features.value, d, c, place, value),
                                     head_of(features.output, d, c, place, value));
    result.col(place).segment(rows.sums(c), d) = vo.rowwise().sum();
    result.col(place).segment(rows.squares(c), d) = vo.rowwise().squaredNorm();
  });
  result.row(rows.one()).setOnes();
  return result;
}

// Adds to `gradient` the derivative by the weights of <cotangent, head_features(features)>.
template <Scalar S>
void pull_back_heads(const WeightFeatures<S>& features, const Matrix<S>& cotangent,
                     WeightFeatures<S>& gradient) {
  const Index d = features.shape.model_width;
  const Index key = features.shape.key_width;
  const Index value = features.shape.value_width;
  const HeadLayout rows{d, features.channels};
  for_each_head(features, [&](Index c, Index place) {
    const Eigen::Map<const Matrix<S>> kq(&cotangent(rows.qk(c), place), d, d);
    add_product(head_of(gradient.key, d, c, place, key), kq, head_of(features.query, d, c, place, key));
    add_product_tn(head_of(gradient.query, d, c, place, key), kq, head_of(features.key, d, c, place, key));
    const auto v = head_of(features.value, d, c, place, value);
    const auto o = head_of(features.output, d, c, place, value);
    Matrix<S> vo = S(2) * cotangent.col(place).segment(rows.squares(c), d).asDiagonal() * multiply_nt(v, o);
    vo.colwise() += cotangent.col(place).segment(rows.sums(c), d);
    add_product(head_of(gradient.value, d, c, place, value), vo, o);
    add_product_tn(head_of(gradient.output, d, c, place, value), vo, v);
  });
}

// m x n h to the sums over heads of the squares, and a row of ones: (m + 1) x n.
template <Scalar S>
Matrix<S> summed_squares(const Matrix<S>& per_head, Index heads) {
  Matrix<S> result(per_head.rows() + 1, per_head.cols() / heads);
  result.topRows(per_head.rows()) = sum_columns(per_head.cwiseAbs2(), heads);
  result.bottomRows(1).setOnes();
  return result;
}

}  // namespace

template <Scalar S>
HeadInvariantLayer<S>::HeadInvariantLayer(Index model_width, Index in_channels, Index features, Index outputs)
    : width_(model_width), in_channels_(in_channels) {
  if (std::min({model_width, in_channels, features, outputs}) < 1) {
    throw ShapeError("a layer needs a positive model width, channels, features and outputs");
  }
  heads_ = Matrix<S>::Zero(features, HeadLayout{width_, in_channels_}.size());
  sums_ = Matrix<S>::Zero(outputs, features + 1);
}

template <Scalar S>
Index HeadInvariantLayer<S>::parameter_count(Index model_width, Index in_channels, Index features,
                                             Index outputs) {
  return features * (in_channels * (model_width * model_width + 2 * model_width) + 1) +
         outputs * (features + 1);
}

template <Scalar S>
std::vector<ParameterView<S>> HeadInvariantLayer<S>::parameters() {
  ParameterTable<S> heads(width_, in_channels_, heads_.rows());
  heads.add(heads_, 0, false, {{2}, {1}, {1}, {0, false}}, {"H1", "H2", "H3", "H4"});
  ParameterTable<S> sums(width_, heads_.rows(), outputs());
  sums.add(sums_, 0, false, {{0}, {0, false}}, {"G1", "G2"});
  std::vector<ParameterView<S>> views = heads.views();
  views.insert(views.end(), sums.views().begin(), sums.views().end());
  return views;
}

template <Scalar S>
Matrix<S> HeadInvariantLayer<S>::operator()(const WeightFeatures<S>& input) const {
  require_consistent(input, width_, in_channels_);
  const Matrix<S> per_head = multiply(heads_, head_features(input));
  return multiply(sums_, summed_squares(per_head, input.shape.heads));
}

template <Scalar S>
Gradients<HeadInvariantLayer<S>> HeadInvariantLayer<S>::backward(const WeightFeatures<S>& input,
                                                                 const Matrix<S>& cotangent) const {
  require_consistent(input, width_, in_channels_);
  require_same_size("the outputs and the cotangent", outputs(), cotangent.rows());
  require_same_size("the checkpoints of input and cotangent", input.batch, cotangent.cols());
  Gradients<HeadInvariantLayer> gradients{WeightFeatures<S>::zero(input.shape, in_channels_, input.batch),
                                          HeadInvariantLayer(width_, in_channels_, heads_.rows(), outputs())};
  const Matrix<S> features = head_features(input);
  const Matrix<S> per_head = multiply(heads_, features);
  gradients.parameters.sums_ = multiply_nt(cotangent, summed_squares(per_head, input.shape.heads));
  const Matrix<S> by_sums = multiply_tn(sums_.leftCols(heads_.rows()), cotangent);
  Matrix<S> by_head = Matrix<S>::Zero(per_head.rows(), per_head.cols());
  add_to_columns(by_head, by_sums, input.shape.heads);
  by_head = S(2) * by_head.cwiseProduct(per_head).eval();
  gradients.parameters.heads_ = multiply_nt(by_head, features);
  pull_back_heads(input, multiply_tn(heads_, by_head), gradients.input);
  return gradients;
}

template class HeadInvariantLayer<float>;
template class HeadInvariantLayer<double>;
template class HeadInvariantLayer<Float50>;
template class HeadInvariantLayer<Rational>;

}  // namespace attnsym
