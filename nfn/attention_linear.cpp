#include "nfn/attention_linear.hpp"

#include "nfn/model_axis.hpp"
#include "symmetry/matrix_products.hpp"

namespace attnsym {
namespace {

// result = (mixer (x) I_D) tensor, plus sums(c, column) at every model coordinate; checkpoint after
// checkpoint, so that a block is still in the cache when it is touched again.
template <class S>
void mix_output(const Matrix<S>& mixer, const Matrix<S>& tensor, const Matrix<S>& sums, Index columns,
                Matrix<S>& result) {
  const Index width = result.rows() / mixer.rows();
  for (Index first = 0; first < tensor.cols(); first += columns) {
    for (Index e = 0; e < mixer.rows(); ++e) {
      auto block = result.block(e * width, first, width, columns);
      set_mixed_channel(block, mixer.row(e), tensor.middleCols(first, columns));
      block.rowwise() += sums.row(e).segment(first, columns);
    }
  }
}

Index value_columns(const BlockShape& shape) { return shape.heads * shape.value_width; }

}  // namespace

template <Scalar S>
AttentionLinear<S>::AttentionLinear(Index model_width, Index in_channels, Index out_channels, bool reordered)
    : width_(model_width), in_channels_(in_channels), out_channels_(out_channels) {
  query_ = key_ = value_ = Matrix<S>::Zero(out_channels * width_, in_channels * width_);
  if (reordered) {
    output_sum_ = output_entry_ = Matrix<S>::Zero(out_channels, in_channels);
  } else {
    output_ = query_;
  }
}

template <Scalar S>
std::vector<ParameterView<S>> AttentionLinear<S>::parameters() {
  ParameterTable<S> table(width_, in_channels_, out_channels_);
  table.add(query_, 0, true, {{1}}, {"PhiQ"});
  table.add(key_, 0, true, {{1}}, {"PhiK"});
  table.add(value_, 0, true, {{1}}, {"PhiV"});
  if (reordered()) {
    table.add(output_sum_, 0, false, {{0}}, {"O1"});
    table.add(output_entry_, 0, false, {{0}}, {"O2"});
  } else {
    table.add(output_, 0, true, {{1}}, {"PhiO"});
  }
  return table.views();
}

template <Scalar S>
void AttentionLinear<S>::apply(const WeightFeatures<S>& input, WeightFeatures<S>& result) const {
  result.query = multiply(query_, input.query);
  result.key = multiply(key_, input.key);
  result.value = multiply(value_, input.value);
  if (reordered()) {
    const Matrix<S> sums = multiply(output_sum_, sum_model_axis(input.output, width_));
    mix_output(output_entry_, input.output, sums, value_columns(input.shape), result.output);
  } else {
    result.output = multiply(output_, input.output);
  }
}

template <Scalar S>
void AttentionLinear<S>::pull_back(const WeightFeatures<S>& input, const WeightFeatures<S>& cotangent,
                                   WeightFeatures<S>& by_input, AttentionLinear& by) const {
  add_product_nt(by.query_, cotangent.query, input.query);
  add_product_nt(by.key_, cotangent.key, input.key);
  add_product_nt(by.value_, cotangent.value, input.value);
  by_input.query = multiply_tn(query_, cotangent.query);
  by_input.key = multiply_tn(key_, cotangent.key);
  by_input.value = multiply_tn(value_, cotangent.value);
  if (!reordered()) {
    add_product_nt(by.output_, cotangent.output, input.output);
    by_input.output = multiply_tn(output_, cotangent.output);
    return;
  }
  const Matrix<S> sums = sum_model_axis(cotangent.output, width_);
  by.output_entry_ += mixer_gradient(cotangent.output, input.output, width_);
  add_product_nt(by.output_sum_, sums, sum_model_axis(input.output, width_));
  mix_output(Matrix<S>(output_entry_.transpose()), cotangent.output, multiply_tn(output_sum_, sums),
             value_columns(input.shape), by_input.output);
}

template class AttentionLinear<float>;
template class AttentionLinear<double>;
template class AttentionLinear<Float50>;
template class AttentionLinear<Rational>;

}  // namespace attnsym
