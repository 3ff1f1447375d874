#include "nfn/module_invariant.hpp"

#include "nfn/gauge_commutant.hpp"
#include "nfn/module_linear.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

// Calls visit(group, reader, head) with the numbers of every head.
template <class S, class Visit>
void for_each_head(const AttentionWeights<S>& weights, Visit visit) {
  Index head = 0;
  for (std::size_t j = 0; j < weights.groups.size(); ++j) {
    for (std::size_t i = 0; i < weights.groups[j].readers.size(); ++i) visit(j, i, head++);
  }
}

// Form number t of one column of features, D x D. Column-major, so that the second index of Q T K^T and V O
// is the fast one: these are transposed.
template <class Features>
auto form(Features& features, Index width, std::size_t t, Index head) {
  using Square = std::conditional_t<std::is_const_v<Features>, const std::remove_const_t<Features>, Features>;
  return Eigen::Map<Square>(&features(static_cast<Index>(t) * width * width, head), width, width);
}

}  // namespace

template <Scalar S>
ModuleInvariant<S>::ModuleInvariant(const AttentionConfig& config, Index features, Index outputs)
    : config_(config) {
  require_bare(config);
  if (features < 0 || outputs < 1) throw ShapeError("a layer needs outputs");
  basis_ = gauge_commutant<S>(config);
  const Index inputs = static_cast<Index>(basis_.size() + 1) * config.model_width * config.model_width;
  linear_ = Matrix<S>::Zero(outputs, inputs + 1);
  heads_ = Matrix<S>::Zero(features, inputs);
  squares_ = Matrix<S>::Zero(outputs, features);
}

template <Scalar S>
Index ModuleInvariant<S>::parameter_count(const AttentionConfig& config, Index features, Index outputs) {
  const Index inputs =
      static_cast<Index>(gauge_commutant<S>(config).size() + 1) * config.model_width * config.model_width;
  return outputs * (inputs + 1) + features * inputs + outputs * features;
}

template <Scalar S>
std::vector<ParameterView<S>> ModuleInvariant<S>::parameters() {
  std::vector<ParameterView<S>> views;
  const auto add = [&](const char* name, Matrix<S>& matrix, Index first, std::vector<Index> axes) {
    Index columns = 1;
    for (const Index axis : axes) columns *= axis;
    axes.insert(axes.begin(), matrix.rows());
    if (matrix.rows() * columns > 0)
      views.push_back({name, &matrix, 0, first, matrix.rows(), 1, 1, columns, std::move(axes)});
  };
  const Index d = config_.model_width;
  const auto forms = static_cast<Index>(basis_.size());
  add("F1", linear_, 0, {forms, d, d});
  add("F2", linear_, forms * d * d, {d, d});
  add("F3", linear_, (forms + 1) * d * d, {});
  add("H1", heads_, 0, {forms, d, d});
  add("H2", heads_, forms * d * d, {d, d});
  add("G", squares_, 0, {heads_.rows()});
  return views;
}

// f_i side by side, (t + 1) D^2 x h.
template <Scalar S>
Matrix<S> ModuleInvariant<S>::head_features(const AttentionWeights<S>& weights) const {
  const Index d = config_.model_width;
  Matrix<S> features(heads_.cols(), config_.heads);
  for_each_head(weights, [&](std::size_t j, std::size_t i, Index head) {
    const KvGroup<S>& group = weights.groups[j];
    const QueryHead<S>& reader = group.readers[i];
    for (std::size_t t = 0; t < basis_.size(); ++t) {
      form(features, d, t, head) = multiply_nt(group.key, multiply(reader.query, basis_[t]));
    }
    form(features, d, basis_.size(), head) = multiply(group.value, reader.output).transpose();
  });
  return features;
}

// Adds the derivative by the weights of <cotangent, head_features(weights)>.
template <Scalar S>
void ModuleInvariant<S>::pull_back(const AttentionWeights<S>& weights, const Matrix<S>& cotangent,
                                   AttentionWeights<S>& gradient) const {
  const Index d = config_.model_width;
  for_each_head(weights, [&](std::size_t j, std::size_t i, Index head) {
    const KvGroup<S>& group = weights.groups[j];
    const QueryHead<S>& reader = group.readers[i];
    KvGroup<S>& by = gradient.groups[j];
    for (std::size_t t = 0; t < basis_.size(); ++t) {
      const Matrix<S> by_form = form(cotangent, d, t, head);
      add_product(by.key, by_form, multiply(reader.query, basis_[t]));
      add_product_nt(by.readers[i].query, multiply_tn(by_form, group.key), basis_[t]);
    }
    const Matrix<S> by_vo = form(cotangent, d, basis_.size(), head).transpose();
    add_product_nt(by.value, by_vo, reader.output);
    add_product_tn(by.readers[i].output, group.value, by_vo);
  });
}

template <Scalar S>
Matrix<S> ModuleInvariant<S>::operator()(const AttentionWeights<S>& input) const {
  require_fits(input, config_);
  const Matrix<S> features = head_features(input);
  const Matrix<S> per_head = multiply(heads_, features);
  Matrix<S> result = multiply(linear_.leftCols(features.rows()), features.rowwise().sum());
  result += linear_.rightCols(1);
  add_product(result, squares_, per_head.rowwise().squaredNorm());
  return result;
}

template <Scalar S>
Gradients<ModuleInvariant<S>> ModuleInvariant<S>::backward(const AttentionWeights<S>& input,
                                                           const Matrix<S>& cotangent) const {
  require_fits(input, config_);
  require_same_size("the outputs and the cotangent", outputs(), cotangent.rows());
  require_same_size("the modules of input and cotangent", Index{1}, cotangent.cols());
  const Matrix<S> features = head_features(input);
  const Matrix<S> per_head = multiply(heads_, features);
  Gradients<ModuleInvariant> gradients{input, ModuleInvariant(config_, heads_.rows(), outputs())};
  for_each_slot(gradients.input, [](auto& slot) { slot.setZero(); });
  ModuleInvariant& by = gradients.parameters;
  by.linear_ << multiply_nt(cotangent, features.rowwise().sum()), cotangent;
  by.squares_ = multiply_nt(cotangent, per_head.rowwise().squaredNorm());
  const Matrix<S> by_squares = multiply_tn(squares_, cotangent);
  const Matrix<S> by_heads = S(2) * (by_squares.col(0).asDiagonal() * per_head);
  by.heads_ = multiply_nt(by_heads, features);
  Matrix<S> by_features = multiply_tn(heads_, by_heads);
  by_features.colwise() += multiply_tn(linear_.leftCols(features.rows()), cotangent).col(0);
  pull_back(input, by_features, gradients.input);
  return gradients;
}

template class ModuleInvariant<float>;
template class ModuleInvariant<double>;
template class ModuleInvariant<Float50>;
template class ModuleInvariant<Rational>;

}  // namespace attnsym
