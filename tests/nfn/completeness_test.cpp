// The layers are complete [N13]: the dimension of all linear maps from (entries, Q_i K_i^T, V_i O_i, 1) that
// commute with the block's group, found as null spaces, is the number of parameters, and no parameter is
// redundant.
#include <gtest/gtest.h>

#include "nfn/block_linear.hpp"
#include "nfn/block_symmetry.hpp"
#include "nfn/equivariant_linear.hpp"
#include "nfn/invariant.hpp"
#include "tests/nfn/null_spaces.hpp"
#include "tests/nfn/random_features.hpp"

namespace attnsym::testing {
namespace {

std::vector<BlockElement<double>> random_elements(const BlockShape& shape) {
  Random random(1);
  std::vector<BlockElement<double>> elements;
  for (int i = 0; i < 6; ++i) elements.push_back(sample_element<double>(shape, random, {3}));
  return elements;
}

template <class Features>
auto& tensor_of(Features& features, std::string_view wanted) {
  auto* found = &features.query;
  for_each_tensor(features, [&](std::string_view name, auto& tensor) {
    if (name == wanted) found = &tensor;
  });
  return *found;
}

// How the elements move the entries of one tensor.
Representation on_tensor(const BlockShape& shape, const char* name) {
  Representation result;
  for (const auto& g : random_elements(shape)) {
    auto basis = WeightFeatures<double>::zero(shape, 1, 1);
    Matrix<double>& tensor = tensor_of(basis, name);
    Matrix<double> moved(tensor.size(), tensor.size());
    for (Index i = 0; i < tensor.size(); ++i) {
      tensor.setZero();
      tensor(i) = 1;
      const auto image = act(g, basis);
      moved.col(i) = tensor_of(image, name).reshaped();
    }
    result.push_back(std::move(moved));
  }
  return result;
}

// How they move the h D D entries of all Q_i K_i^T, or of all V_i O_i, whose columns P_D reorders.
Representation on_products(const BlockShape& shape, bool reorder_columns) {
  const Index d = shape.model_width;
  Representation result;
  for (const auto& g : random_elements(shape)) {
    Matrix<double> moved = Matrix<double>::Zero(shape.heads * d * d, shape.heads * d * d);
    for (Index i = 0; i < shape.heads; ++i) {
      for (Index p = 0; p < d; ++p) {
        for (Index q = 0; q < d; ++q) {
          const Index to = reorder_columns ? model_order(g)(q) : q;
          moved((head_moves(g).top(i) * d + p) * d + to, (i * d + p) * d + q) = 1;
        }
      }
    }
    result.push_back(std::move(moved));
  }
  return result;
}

Representation on_one(const BlockShape& shape) {
  return Representation(random_elements(shape).size(), Matrix<double>::Ones(1, 1));
}

std::vector<Representation> on_tensors(const BlockShape& shape) {
  std::vector<Representation> result;
  const auto weights = WeightFeatures<double>::zero(shape, 1, 1);
  for_each_tensor(weights, [&](const char* name, const auto&) { result.push_back(on_tensor(shape, name)); });
  return result;
}

std::vector<Representation> lifted(const BlockShape& shape) {
  std::vector<Representation> result = on_tensors(shape);
  result.push_back(on_products(shape, false));
  result.push_back(on_products(shape, true));
  result.push_back(on_one(shape));
  return result;
}

Index equivariant_dimension(const BlockShape& shape) {
  Index dimension = 0;
  for (const Representation& in : lifted(shape)) {
    for (const Representation& out : on_tensors(shape)) dimension += intertwiners(out, in);
  }
  return dimension;
}

Index invariant_dimension(const BlockShape& shape) {
  Index dimension = 0;
  for (const Representation& in : lifted(shape)) dimension += intertwiners(on_one(shape), in);
  return dimension;
}

// Enough random checkpoints determine every parameter: the outputs have full rank in the parameters.
template <class Layer>
void expect_no_redundancy(const BlockShape& shape, Layer layer) {
  const auto inputs = random_features<double>(shape, 1, 8 * shape.model_width * shape.model_width, 5);
  const Index count = parameter_count(layer.parameters());
  Matrix<double> outputs;
  Index column = 0;
  for (const auto& view : layer.parameters()) {
    for (Index i = 0; i < view.size(); ++i) {
      view(i) = 1;
      std::vector<double> values;
      const auto result = layer(inputs);
      for_each_tensor(result, [&](const char*, const Matrix<double>& tensor) {
        values.insert(values.end(), tensor.data(), tensor.data() + tensor.size());
      });
      view(i) = 0;
      if (outputs.size() == 0) outputs.resize(static_cast<Index>(values.size()), count);
      outputs.col(column++) = Eigen::Map<const Eigen::VectorXd>(values.data(), outputs.rows());
    }
  }
  EXPECT_EQ(rank(outputs), count);
}

class Completeness : public ::testing::TestWithParam<BlockShape> {};

TEST_P(Completeness, OfThePublishedLayers) {
  const BlockShape shape = GetParam();
  const Index d = shape.model_width;
  EXPECT_EQ(equivariant_dimension(shape), EquivariantLinear<double>::parameter_count(d, 1, 1));
  EXPECT_EQ(invariant_dimension(shape), InvariantLayer<double>::parameter_count(d, 1, 1));
  expect_no_redundancy(shape, EquivariantLinear<double>(d, 1, 1));
}

const auto shapes = ::testing::Values(BlockShape{2, 2, 1, 1, 2}, BlockShape{2, 1, 2, 1, 3},
                                      BlockShape{3, 2, 2, 1, 2}, BlockShape{2, 3, 1, 2, 4});
INSTANTIATE_TEST_SUITE_P(Shapes, Completeness, shapes);

// Shape, residual, affine norm.
class CompletenessOfKinds : public ::testing::TestWithParam<std::tuple<BlockShape, bool, bool>> {};

TEST_P(CompletenessOfKinds, OfTheLayersForEveryKind) {
  BlockShape shape;
  std::tie(shape, shape.residual, shape.affine_norm) = GetParam();
  EXPECT_EQ(equivariant_dimension(shape), BlockLinear<double>::parameter_count(shape, 1, 1));
  EXPECT_EQ(invariant_dimension(shape), BlockPooling<double>::parameter_count(shape, 1, 1));
  expect_no_redundancy(shape, BlockLinear<double>(shape, 1, 1));
}

INSTANTIATE_TEST_SUITE_P(Kinds, CompletenessOfKinds,
                         ::testing::Combine(shapes, ::testing::Bool(), ::testing::Bool()));

// Twin: without P_D more maps commute, so the count would notice a missing symmetry.
TEST(CompletenessTwin, FewerSymmetriesAllowMoreMaps) {
  const BlockShape shape{2, 2, 1, 1, 2};
  const Representation full = on_tensor(shape, "A");
  Random random(1);
  Representation partial;
  for (int i = 0; i < 6; ++i) partial.push_back(Matrix<double>::Identity(4, 4));
  EXPECT_EQ(intertwiners(full, full), 4);
  EXPECT_EQ(intertwiners(partial, partial), 16);
}

}  // namespace
}  // namespace attnsym::testing
