#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// One parameter tensor of a layer, under the name that the paper gives it, inside the matrix that holds it
/// with others. Its axes are [e, c, k, ...]: output channel, input channel, model coordinate of the output,
/// then those of the input; the ones that a parameter lacks have extent 1 and are left out of axes().
template <Scalar S>
struct ParameterView {
  std::string name;
  Matrix<S>* matrix = nullptr;  ///< rows (e, k), columns (c, ...), from first_row and first_column on
  Index first_row = 0;
  Index first_column = 0;
  Index out_channels = 1;  ///< extent of e
  Index in_channels = 1;   ///< extent of c
  Index outputs = 1;       ///< extent of k
  Index inputs = 1;        ///< extent of all the rest
  std::vector<Index> axes;

  Index size() const { return out_channels * in_channels * outputs * inputs; }

  /// Entry `flat` of the tensor in row-major order of axes().
  S& operator()(Index flat) const {
    const Index rest = flat % inputs;
    const Index k = flat / inputs % outputs;
    const Index c = flat / inputs / outputs % in_channels;
    const Index e = flat / inputs / outputs / in_channels;
    return (*matrix)(first_row + e * outputs + k, first_column + c * inputs + rest);
  }
};

/// Makes the views of one layer one after the other: the columns of a matrix hold the parameters that
/// multiply one kind of feature after the other.
template <Scalar S>
class ParameterTable {
 public:
  ParameterTable(Index width, Index in_channels, Index out_channels)
      : width_(width), in_channels_(in_channels), out_channels_(out_channels) {}

  /// What a feature is: for every channel D^axes numbers; without channels, a list of numbers, such as the
  /// one constant 1.
  struct Feature {
    Index axes = 0;
    bool has_channel = true;
    Index list = 1;  ///< length of that list
  };

  /// Names the columns of `matrix`, feature after feature, for the rows from first_row on that belong to one
  /// output: D rows per channel if `has_model_axis`, else one.
  void add(Matrix<S>& matrix, Index first_row, bool has_model_axis, const std::vector<Feature>& features,
           const std::vector<std::string>& names);

  const std::vector<ParameterView<S>>& views() const { return views_; }

 private:
  Index width_;
  Index in_channels_;
  Index out_channels_;
  std::vector<ParameterView<S>> views_;
};

/// The matrices that hold the parameters, each once, in the order of the views.
template <Scalar S>
std::vector<Matrix<S>*> parameter_matrices(const std::vector<ParameterView<S>>& views) {
  std::vector<Matrix<S>*> matrices;
  for (const ParameterView<S>& view : views) {
    if (std::ranges::find(matrices, view.matrix) == matrices.end()) matrices.push_back(view.matrix);
  }
  return matrices;
}

/// Numbers in all parameters together.
template <Scalar S>
Index parameter_count(const std::vector<ParameterView<S>>& views) {
  Index count = 0;
  for (const ParameterView<S>& view : views) count += view.size();
  return count;
}

}  // namespace attnsym
