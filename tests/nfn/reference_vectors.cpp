// Outputs and gradients of the published implementation, in double, entry by entry. The vectors are looked
// for in transformer-nfn/ under the directory that ATTNSYM_REFERENCE_DIR names, by default beside the source
// tree.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "checkpoint/safetensors.hpp"
#include "nfn/equivariant_linear.hpp"
#include "nfn/invariant.hpp"
#include "nfn/row_major.hpp"

namespace attnsym::testing {
namespace {

constexpr double limit = 1e-12;

std::filesystem::path reference_directory() {
  const char* chosen = std::getenv("ATTNSYM_REFERENCE_DIR");
  return std::filesystem::path(chosen ? chosen : DEFAULT_REFERENCE_DIRECTORY) / "transformer-nfn";
}

// One file of vectors.
class Vectors {
 public:
  explicit Vectors(const std::filesystem::path& path) : file_(SafetensorsFile::open(path)) {
    const std::vector<Index> q = axes("in.Q");
    shape_ = {q[3], q[2], q[4], axes("in.V")[4], axes("in.A")[3]};
    batch_ = q[0];
    in_channels_ = q[1];
    out_channels_ = axes("out.Q")[1];
  }

  Index model_width() const { return shape_.model_width; }
  Index in_channels() const { return in_channels_; }
  Index out_channels() const { return out_channels_; }
  Index batch() const { return batch_; }

  std::vector<Index> axes(const std::string& name) const {
    const TensorInfo& tensor = found(name);
    return {tensor.shape.begin(), tensor.shape.end()};
  }

  std::vector<double> values(const std::string& name) const {
    const TensorInfo& tensor = found(name);
    std::vector<double> result(tensor.size() / size_of(tensor.dtype));
    decode(tensor.dtype, file_.bytes(tensor), result);
    return result;
  }

  WeightFeatures<double> features(const std::string& prefix, Index channels) const {
    auto result = WeightFeatures<double>::zero(shape_, channels, batch_);
    for_each_tensor(result, [&](const char* name, auto&) {
      EXPECT_EQ(axes(prefix + name), row_major_axes(shape_, channels, batch_, name)) << prefix << name;
      from_row_major<double>(result, name, values(prefix + name));
    });
    return result;
  }

  // n x e in the file, e x n here.
  Matrix<double> outputs(const std::string& name) const {
    const std::vector<double> stored = values(name);
    return Eigen::Map<const Matrix<double>>(stored.data(), out_channels_, batch_);
  }

  template <class Layer>
  void load_parameters(const std::string& prefix, Layer& layer) const {
    for (const auto& view : layer.parameters()) {
      const std::vector<double> stored = values(prefix + view.name);
      EXPECT_EQ(axes(prefix + view.name), view.axes) << view.name;
      for (Index i = 0; i < view.size(); ++i) view(i) = stored[i];
    }
  }

 private:
  const TensorInfo& found(const std::string& name) const {
    const TensorInfo* tensor = file_.find(name);
    if (!tensor) throw std::runtime_error("the vectors lack " + name);
    return *tensor;
  }

  SafetensorsFile file_;
  BlockShape shape_;
  Index batch_ = 0;
  Index in_channels_ = 0;
  Index out_channels_ = 0;
};

// The largest error relative to the largest entry; NaN stays NaN.
double relative_error(const std::vector<double>& got, const std::vector<double>& want) {
  const auto row = [](const std::vector<double>& v) {
    return Eigen::Map<const RowVector<double>>(v.data(), static_cast<Index>(v.size()));
  };
  return (row(got) - row(want)).cwiseAbs().maxCoeff<Eigen::PropagateNaN>() / row(want).cwiseAbs().maxCoeff();
}

void expect_equal(const Vectors& vectors, const std::string& prefix, const WeightFeatures<double>& got) {
  for_each_tensor(got, [&](const char* name, const auto&) {
    EXPECT_LE(relative_error(to_row_major(got, name), vectors.values(prefix + name)), limit)
        << prefix << name;
  });
}

void expect_equal(const Vectors& vectors, const std::string& name, const Matrix<double>& got) {
  EXPECT_LE(relative_error({got.data(), got.data() + got.size()}, vectors.values(name)), limit) << name;
}

template <class Layer>
void expect_equal_parameters(const Vectors& vectors, const std::string& prefix, Layer gradient) {
  for (const auto& view : gradient.parameters()) {
    std::vector<double> got;
    for (Index i = 0; i < view.size(); ++i) got.push_back(view(i));
    EXPECT_LE(relative_error(got, vectors.values(prefix + view.name)), limit) << prefix << view.name;
  }
}

void check_equivariant_layer(const Vectors& vectors) {
  EquivariantLinear<double> layer(vectors.model_width(), vectors.in_channels(), vectors.out_channels());
  vectors.load_parameters("param.", layer);
  const auto input = vectors.features("in.", vectors.in_channels());
  expect_equal(vectors, "out.", layer(input));
  const auto gradients = layer.backward(input, vectors.features("cotangent.", vectors.out_channels()));
  expect_equal(vectors, "grad.in.", gradients.input);
  expect_equal_parameters(vectors, "grad.param.", gradients.parameters);
}

void check_invariant_layer(const Vectors& vectors) {
  InvariantLayer<double> layer(vectors.model_width(), vectors.in_channels(), vectors.out_channels());
  vectors.load_parameters("invariant.param.", layer);
  const auto input = vectors.features("in.", vectors.in_channels());
  expect_equal(vectors, "invariant.out", layer(input));
  const auto gradients = layer.backward(input, vectors.outputs("invariant.cotangent"));
  expect_equal(vectors, "invariant.grad.in.", gradients.input);
  expect_equal_parameters(vectors, "invariant.grad.param.", gradients.parameters);
}

TEST(ReferenceVectors, AgreeInOutputsAndAllGradients) {
  const std::filesystem::path directory = reference_directory();
  const bool chosen = std::getenv("ATTNSYM_REFERENCE_DIR") != nullptr;
  if (!chosen && !std::filesystem::exists(directory)) {
    std::cout << "SKIPPED: no reference vectors in " << directory << "; set ATTNSYM_REFERENCE_DIR\n";
    GTEST_SKIP();  // the vectors are no part of the project
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() != ".safetensors") continue;
    SCOPED_TRACE(entry.path().filename().string());
    const Vectors vectors(entry.path());
    check_equivariant_layer(vectors);
    check_invariant_layer(vectors);
    ++files;
  }
  EXPECT_GT(files, 0) << directory << " holds no vectors";
  std::cout << files << " files of vectors agree\n";
}

// Twin: an error just above the limit, and NaN, do not pass.
TEST(ReferenceVectors, TheComparisonNotices) {
  EXPECT_GT(relative_error({1, 2 + 1e-11}, {1, 2}), limit);
  EXPECT_FALSE(relative_error({1, std::nan("")}, {1, 2}) <= limit);
  EXPECT_LE(relative_error({1, 2}, {1, 2}), limit);
}

}  // namespace
}  // namespace attnsym::testing
