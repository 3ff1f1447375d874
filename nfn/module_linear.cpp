#include "nfn/module_linear.hpp"

#include "nfn/gauge_commutant.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"

namespace attnsym {
namespace {

// X T_t below each other.
template <class S>
Matrix<S> turned(const Matrix<S>& matrix, const std::vector<Matrix<S>>& basis) {
  Matrix<S> result(matrix.rows() * static_cast<Index>(basis.size()), matrix.cols());
  Index row = 0;
  for (const Matrix<S>& t : basis) {
    result.middleRows(row, matrix.rows()) = multiply(matrix, t);
    row += matrix.rows();
  }
  return result;
}

// The transpose of turned.
template <class S>
Matrix<S> turned_back(const Matrix<S>& stack, const std::vector<Matrix<S>>& basis) {
  const Index rows = stack.rows() / static_cast<Index>(basis.size());
  Matrix<S> result = Matrix<S>::Zero(rows, stack.cols());
  Index row = 0;
  for (const Matrix<S>& t : basis) {
    add_product_nt(result, stack.middleRows(row, rows), t);
    row += rows;
  }
  return result;
}

template <class S>
Matrix<S> sum_of(const std::vector<QueryHead<S>>& readers, Matrix<S> QueryHead<S>::*tensor) {
  Matrix<S> sum = readers.front().*tensor;
  for (std::size_t i = 1; i < readers.size(); ++i) sum += readers[i].*tensor;
  return sum;
}

}  // namespace

void require_bare(const AttentionConfig& config) {
  config.validate();
  if (config.query_bias || config.key_bias || config.value_bias || config.output_bias || config.sinks ||
      !config.slopes.empty() || config.qk_norm) {
    throw ShapeError("this layer reads queries, keys, values and outputs and nothing else");
  }
}

template <Scalar S>
ModuleLinear<S>::ModuleLinear(const AttentionConfig& config, Index outputs) : config_(config) {
  require_bare(config);
  if (outputs < 1) throw ShapeError("a layer needs outputs");
  basis_ = gauge_commutant<S>(config);
  query_ = key_ = Matrix<S>::Zero(outputs, static_cast<Index>(basis_.size()) * config.model_width);
  value_ = output_ = Matrix<S>::Zero(outputs, config.model_width);
  if (config.readers_per_group() == 1) return;
  query_sum_ = query_;
  output_sum_ = output_;
}

template <Scalar S>
Index ModuleLinear<S>::parameter_count(const AttentionConfig& config, Index outputs) {
  const auto basis = static_cast<Index>(gauge_commutant<S>(config).size());
  const Index kinds = config.readers_per_group() > 1 ? 3 : 2;
  return outputs * config.model_width * kinds * (basis + 1);
}

template <Scalar S>
std::vector<ParameterView<S>> ModuleLinear<S>::parameters() {
  std::vector<ParameterView<S>> views;
  const auto add = [&](const char* name, Matrix<S>& matrix, bool has_basis) {
    if (matrix.size() == 0) return;
    ParameterView<S> view{name, &matrix, 0, 0, matrix.rows(), 1, 1, matrix.cols(), {matrix.rows()}};
    if (has_basis) view.axes.push_back(static_cast<Index>(basis_.size()));
    view.axes.push_back(config_.model_width);
    views.push_back(std::move(view));
  };
  add("PhiQ", query_, true);
  add("SumQ", query_sum_, true);
  add("PhiK", key_, true);
  add("PhiV", value_, false);
  add("PhiO", output_, false);
  add("SumO", output_sum_, false);
  return views;
}

template <Scalar S>
KvGroup<S> ModuleLinear<S>::apply(const KvGroup<S>& group) const {
  KvGroup<S> result = group;
  result.key = multiply(key_, turned(group.key, basis_));
  result.value = multiply(value_, group.value);
  for (std::size_t i = 0; i < group.readers.size(); ++i) {
    result.readers[i].query = multiply(query_, turned(group.readers[i].query, basis_));
    result.readers[i].output = multiply_nt(group.readers[i].output, output_);
  }
  if (!has_sums()) return result;
  const Matrix<S> query = multiply(query_sum_, turned(sum_of(group.readers, &QueryHead<S>::query), basis_));
  const Matrix<S> output = multiply_nt(sum_of(group.readers, &QueryHead<S>::output), output_sum_);
  for (QueryHead<S>& reader : result.readers) {
    reader.query += query;
    reader.output += output;
  }
  return result;
}

template <Scalar S>
AttentionWeights<S> ModuleLinear<S>::operator()(const AttentionWeights<S>& input) const {
  require_fits(input, config_);
  AttentionWeights<S> result;
  for (const KvGroup<S>& group : input.groups) result.groups.push_back(apply(group));
  return result;
}

// Adds to the parameters of `by`. @return the derivative by the group
template <Scalar S>
KvGroup<S> ModuleLinear<S>::pull_back(const KvGroup<S>& group, const KvGroup<S>& cotangent,
                                      ModuleLinear& by) const {
  KvGroup<S> result = group;
  add_product_nt(by.key_, cotangent.key, turned(group.key, basis_));
  result.key = turned_back(multiply_tn(key_, cotangent.key), basis_);
  add_product_nt(by.value_, cotangent.value, group.value);
  result.value = multiply_tn(value_, cotangent.value);
  for (std::size_t i = 0; i < group.readers.size(); ++i) {
    const QueryHead<S>& reader = group.readers[i];
    const QueryHead<S>& from = cotangent.readers[i];
    add_product_nt(by.query_, from.query, turned(reader.query, basis_));
    add_product_tn(by.output_, from.output, reader.output);
    result.readers[i].query = turned_back(multiply_tn(query_, from.query), basis_);
    result.readers[i].output = multiply(from.output, output_);
  }
  if (!has_sums()) return result;
  const Matrix<S> query = sum_of(cotangent.readers, &QueryHead<S>::query);
  const Matrix<S> output = sum_of(cotangent.readers, &QueryHead<S>::output);
  add_product_nt(by.query_sum_, query, turned(sum_of(group.readers, &QueryHead<S>::query), basis_));
  add_product_tn(by.output_sum_, output, sum_of(group.readers, &QueryHead<S>::output));
  const Matrix<S> by_query = turned_back(multiply_tn(query_sum_, query), basis_);
  const Matrix<S> by_output = multiply(output, output_sum_);
  for (QueryHead<S>& reader : result.readers) {
    reader.query += by_query;
    reader.output += by_output;
  }
  return result;
}

template <Scalar S>
Gradients<ModuleLinear<S>> ModuleLinear<S>::backward(const AttentionWeights<S>& input,
                                                     const AttentionWeights<S>& cotangent) const {
  require_fits(input, config_);
  AttentionConfig of_outputs = config_;
  of_outputs.model_width = value_.rows();
  require_fits(cotangent, of_outputs);
  Gradients<ModuleLinear> gradients{{}, ModuleLinear(config_, value_.rows())};
  for (std::size_t j = 0; j < input.groups.size(); ++j) {
    gradients.input.groups.push_back(pull_back(input.groups[j], cotangent.groups[j], gradients.parameters));
  }
  return gradients;
}

template class ModuleLinear<float>;
template class ModuleLinear<double>;
template class ModuleLinear<Float50>;
template class ModuleLinear<Rational>;

}  // namespace attnsym
