#pragma once

#include "nfn/weight_features.hpp"

namespace attnsym {

/// The heads of one channel of one checkpoint side by side, D x h w, as a view. For two such views
/// left right^T sums over heads. `head_width` is w: Dk of Q and K, Dv of V and O.
template <class Tensor>
auto heads_of(Tensor& tensor, const BlockShape& shape, Index channel, Index checkpoint, Index head_width) {
  const Index columns = shape.heads * head_width;
  return tensor.block(channel * shape.model_width, checkpoint * columns, shape.model_width, columns);
}

/// Calls visit(channel, checkpoint) for all of them.
template <Scalar S, class Visit>
void for_each_module(const WeightFeatures<S>& features, Visit visit) {
  for (Index n = 0; n < features.batch; ++n) {
    for (Index c = 0; c < features.channels; ++c) visit(c, n);
  }
}

}  // namespace attnsym
