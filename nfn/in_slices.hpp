#pragma once

#include <algorithm>
#include <utility>

#include "nfn/layer.hpp"
#include "nfn/weight_features.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {

/// A network that takes a batch a few checkpoints at a time, so few that what its layers hand to one another
/// stays in the cache: the same map, faster, in memory that does not grow with the batch. The derivatives by
/// the parameters are summed in place, slice after slice.
///
/// The network, a Sequential, maps WeightFeatures to a matrix with one column per checkpoint. 8 checkpoints
/// suit the widths of the paper's zoo (D = 32); wide models, whose parameters outgrow the cache, want more.
template <class Network>
class InSlices {
 public:
  using Input = typename Network::Input;
  using Output = typename Network::Output;

  /// @throws ShapeError unless there is a checkpoint in a slice.
  explicit InSlices(Network network, Index slice = 8) : network_(std::move(network)), slice_(slice) {
    if (slice < 1) throw ShapeError("a slice needs a checkpoint");
  }

  auto parameters() { return network_.parameters(); }

  Output operator()(const Input& input) const;

  Gradients<InSlices> backward(const Input& input, const Output& cotangent) const {
    return differentiate(input, [&](const Output& outputs, Index first) {
      return Output(cotangent.middleCols(first, outputs.cols()));
    });
  }

  /// As backward, with one forward pass: cotangent_of(outputs, first) tells the cotangent of the checkpoints
  /// from `first` on once their outputs are known.
  template <class CotangentOf>
  Gradients<InSlices> differentiate(const Input& input, const CotangentOf& cotangent_of) const;

 private:
  template <class Visit>
  void for_each_slice(const Input& input, Visit visit) const;

  Network network_;
  Index slice_;
};

template <class Network>
template <class Visit>
void InSlices<Network>::for_each_slice(const Input& input, Visit visit) const {
  require_consistent(input);
  for (Index first = 0; first < input.batch; first += slice_) {
    visit(checkpoints(input, first, std::min(slice_, input.batch - first)), first);
  }
}

template <class Network>
typename InSlices<Network>::Output InSlices<Network>::operator()(const Input& input) const {
  Output outputs;
  for_each_slice(input, [&](const Input& slice, Index first) {
    const Output part = network_(slice);
    if (first == 0) outputs.resize(part.rows(), input.batch);
    outputs.middleCols(first, part.cols()) = part;
  });
  return outputs;
}

template <class Network>
template <class CotangentOf>
Gradients<InSlices<Network>> InSlices<Network>::differentiate(const Input& input,
                                                              const CotangentOf& cotangent_of) const {
  Gradients<InSlices> gradients{Input::uninitialized(input.shape, input.channels, input.batch),
                                InSlices(zero_like(network_), slice_)};
  for_each_slice(input, [&](const Input& slice, Index first) {
    const Input by_slice = network_.differentiate(
        slice, [&](const Output& outputs) { return cotangent_of(outputs, first); },
        gradients.parameters.network_);
    set_checkpoints(gradients.input, first, by_slice);
  });
  return gradients;
}

}  // namespace attnsym
