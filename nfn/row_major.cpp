#include "nfn/row_major.hpp"

#include <functional>
#include <numeric>
#include <string>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// How one tensor is laid out. Axes that it lacks have extent 1.
struct Layout {
  bool has_heads = false;
  bool has_model = true;
  bool inner_first = false;  // the inner axis comes before the model axis
  Index heads = 1;
  Index model = 1;
  Index inner = 1;
};

Layout layout_of(const BlockShape& shape, std::string_view tensor) {
  const Index d = shape.model_width;
  if (tensor == "Q" || tensor == "K") return {true, true, false, shape.heads, d, shape.key_width};
  if (tensor == "V") return {true, true, false, shape.heads, d, shape.value_width};
  if (tensor == "O") return {true, true, true, shape.heads, d, shape.value_width};
  if (tensor == "A") return {false, true, false, 1, d, shape.hidden_width};
  if (tensor == "B") return {false, true, true, 1, d, shape.hidden_width};
  if (tensor == "bA") return {false, false, false, 1, 1, shape.hidden_width};
  if (tensor == "bB") return {false, true, true, 1, d, 1};
  if (shape.affine_norm && (tensor == "gamma" || tensor == "beta")) return {false, true, true, 1, d, 1};
  throw ShapeError("a block has no tensor " + std::string(tensor));
}

// Visits the entries in row-major order of the paper's axes: visit(row, column).
template <class Visit>
void for_each_place(const Layout& layout, Index channels, Index batch, Visit visit) {
  const Index outer_extent = layout.inner_first ? layout.inner : layout.model;
  const Index last_extent = layout.inner_first ? layout.model : layout.inner;
  for (Index n = 0; n < batch; ++n) {
    for (Index c = 0; c < channels; ++c) {
      for (Index i = 0; i < layout.heads; ++i) {
        for (Index outer = 0; outer < outer_extent; ++outer) {
          for (Index last = 0; last < last_extent; ++last) {
            const Index model = layout.inner_first ? last : outer;
            const Index inner = layout.inner_first ? outer : last;
            visit(c * layout.model + model, (n * layout.heads + i) * layout.inner + inner);
          }
        }
      }
    }
  }
}

// The tensor of that name, whose existence layout_of has checked.
template <class Features>
auto& tensor_of(Features& features, std::string_view tensor) {
  auto* found = &features.query;
  for_each_tensor(features, [&](std::string_view name, auto& slot) {
    if (name == tensor) found = &slot;
  });
  return *found;
}

}  // namespace

std::vector<Index> row_major_axes(const BlockShape& shape, Index channels, Index batch,
                                  std::string_view tensor) {
  const Layout layout = layout_of(shape, tensor);
  std::vector<Index> axes{batch, channels};
  if (layout.has_heads) axes.push_back(layout.heads);
  if (tensor == "bA") return {batch, channels, layout.inner};
  if (tensor == "bB" || tensor == "gamma" || tensor == "beta") return {batch, channels, layout.model};
  axes.push_back(layout.inner_first ? layout.inner : layout.model);
  axes.push_back(layout.inner_first ? layout.model : layout.inner);
  return axes;
}

template <Scalar S>
std::vector<S> to_row_major(const WeightFeatures<S>& features, std::string_view tensor) {
  require_consistent(features);
  const Layout layout = layout_of(features.shape, tensor);
  const Matrix<S>& source = tensor_of(features, tensor);
  std::vector<S> values;
  values.reserve(source.size());
  for_each_place(layout, features.channels, features.batch,
                 [&](Index row, Index column) { values.push_back(source(row, column)); });
  return values;
}

template <Scalar S>
void from_row_major(WeightFeatures<S>& features, std::string_view tensor, std::span<const S> values) {
  require_consistent(features);
  const Layout layout = layout_of(features.shape, tensor);
  Matrix<S>& target = tensor_of(features, tensor);
  if (values.size() != static_cast<std::size_t>(target.size())) {
    throw ShapeError(std::string(tensor) + " has " + std::to_string(target.size()) + " entries, found " +
                     std::to_string(values.size()));
  }
  auto next = values.begin();
  for_each_place(layout, features.channels, features.batch,
                 [&](Index row, Index column) { target(row, column) = *next++; });
}

template std::vector<float> to_row_major(const WeightFeatures<float>&, std::string_view);
template std::vector<double> to_row_major(const WeightFeatures<double>&, std::string_view);
template std::vector<Float50> to_row_major(const WeightFeatures<Float50>&, std::string_view);
template std::vector<Rational> to_row_major(const WeightFeatures<Rational>&, std::string_view);
template void from_row_major(WeightFeatures<float>&, std::string_view, std::span<const float>);
template void from_row_major(WeightFeatures<double>&, std::string_view, std::span<const double>);
template void from_row_major(WeightFeatures<Float50>&, std::string_view, std::span<const Float50>);
template void from_row_major(WeightFeatures<Rational>&, std::string_view, std::span<const Rational>);

}  // namespace attnsym
