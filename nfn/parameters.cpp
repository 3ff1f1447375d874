#include "nfn/parameters.hpp"

namespace attnsym {

template <Scalar S>
void ParameterTable<S>::add(Matrix<S>& matrix, Index first_row, bool has_model_axis,
                            const std::vector<Feature>& features, const std::vector<std::string>& names) {
  Index column = 0;
  for (std::size_t i = 0; i < features.size(); ++i) {
    ParameterView<S> view{names[i], &matrix, first_row, column, out_channels_, 1, 1, 1, {out_channels_}};
    if (features[i].has_channel) {
      view.in_channels = in_channels_;
      view.axes.push_back(in_channels_);
    }
    if (has_model_axis) {
      view.outputs = width_;
      view.axes.push_back(width_);
    }
    for (Index axis = 0; axis < features[i].axes; ++axis) {
      view.inputs *= width_;
      view.axes.push_back(width_);
    }
    if (features[i].list > 1) {
      view.inputs = features[i].list;
      view.axes.push_back(features[i].list);
    }
    column += view.in_channels * view.inputs;
    views_.push_back(std::move(view));
  }
}

template class ParameterTable<float>;
template class ParameterTable<double>;
template class ParameterTable<Float50>;
template class ParameterTable<Rational>;

}  // namespace attnsym
