#pragma once

#include "nfn/block_symmetry.hpp"
#include "nfn/testing/show.hpp"
#include "verify/testing/generators.hpp"

/// RapidCheck generators for blocks and their group, in the manner of verify/testing/generators.hpp: small
/// integers and exact inverses, so that laws hold exactly in every scalar.
namespace attnsym::testing {

/// D up to 4, up to 3 heads, other widths up to 3; not residual, no affine norm.
inline rc::Gen<BlockShape> block_shape() {
  return rc::gen::exec([] {
    return BlockShape{*whole_range(1, 4), *whole_range(1, 3), *whole_range(1, 3), *whole_range(1, 3),
                      *whole_range(1, 3)};
  });
}

template <Scalar S>
rc::Gen<WeightFeatures<S>> features(const BlockShape& shape, Index channels, Index batch) {
  return rc::gen::exec([=] {
    auto drawn = WeightFeatures<S>::zero(shape, channels, batch);
    for_each_tensor(
        drawn, [](const char*, Matrix<S>& tensor) { tensor = *matrix<S>(tensor.rows(), tensor.cols()); });
    return drawn;
  });
}

/// Any element of the block's group, from shears, swaps, signs, powers of two and permutations.
template <Scalar S>
rc::Gen<BlockElement<S>> block_element(const BlockShape& shape) {
  return rc::gen::exec([shape] {
    Wreath<HeadGauges<S>> heads{{}, *permutation(shape.heads)};
    for (Index i = 0; i < shape.heads; ++i) {
      heads.local.push_back({*dyadic_linear<S>(shape.key_width), *dyadic_linear<S>(shape.value_width)});
    }
    Permutation model =
        shape.residual ? Permutation::identity(shape.model_width) : *permutation(shape.model_width);
    return BlockElement<S>{std::move(heads), {std::move(model), *permutation(shape.hidden_width)}};
  });
}

}  // namespace attnsym::testing
