#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "nfn/weight_features.hpp"

namespace attnsym {

/// Where features meet files and other languages: arrays in row-major order with the axes of the paper,
///     Q, K: n d h D Dk    V: n d h D Dv    O: n d h Dv D    A: n d D DA    B: n d DA D    bA: n d DA    bB:
///     n d D
/// (n checkpoints, d channels). gamma and beta, where the inner norm has them, are as bB.

/// The axes of one tensor as above. @throws ShapeError if there is no tensor of that name.
std::vector<Index> row_major_axes(const BlockShape& shape, Index channels, Index batch,
                                  std::string_view tensor);

/// @throws ShapeError if there is no tensor of that name.
template <Scalar S>
std::vector<S> to_row_major(const WeightFeatures<S>& features, std::string_view tensor);

/// Overwrites one tensor. @throws ShapeError if there is none of that name, or on another number of values.
template <Scalar S>
void from_row_major(WeightFeatures<S>& features, std::string_view tensor, std::span<const S> values);

}  // namespace attnsym
