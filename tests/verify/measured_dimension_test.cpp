// The dimensions of N5, measured: null spaces of Jacobians of tiny modules, against SymmetryGroup and a
// table.
#include "verify/measured_dimension.hpp"

#include <gtest/gtest.h>

#include "symmetry/errors.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/support/attention_kinds.hpp"

namespace attnsym {
namespace {

using testing::attention_kinds;
using testing::AttentionKind;
using testing::tiny_config;

constexpr Index model_width = 6;

class MeasuredKind : public ::testing::TestWithParam<AttentionKind> {};

TEST_P(MeasuredKind, HasThePredictedDimension) {
  const MeasuredDimension measured = measure_dimension(GetParam().config);
  EXPECT_EQ(measured.dimension, GetParam().dimension) << GetParam().name;
  EXPECT_EQ(measured.dimension, symmetry_of(GetParam().config).dimension()) << GetParam().name;
  EXPECT_EQ(measured.parameters, GetParam().config.parameter_count());
  EXPECT_GE(measured.outputs, 2 * measured.parameters);
  EXPECT_GT(measured.smallest_kept, 1e-4) << GetParam().name;
  EXPECT_LT(measured.largest_dropped, 1e-14) << GetParam().name;
}

INSTANTIATE_TEST_SUITE_P(Kinds, MeasuredKind, ::testing::ValuesIn(attention_kinds()));

// One token sees the D^2 entries of the sum of all V O, whatever the group.
TEST(MeasuredDimensionTwin, OneTokenSeesNoScores) {
  const AttentionConfig config = tiny_config(2, 2);
  MeasureOptions options;
  options.tokens = 1;
  EXPECT_EQ(measure_dimension(config, options).dimension,
            config.parameter_count() - model_width * model_width);
}

// Tokens behind a norm have one length; that adds nothing to what they do not see.
TEST(MeasuredDimension, IsTheSameOnTheSphere) {
  MeasureOptions options;
  options.on_sphere = true;
  const AttentionConfig config = tiny_config(2, 2);
  EXPECT_EQ(measure_dimension(config, options).dimension, 50) << "behind an RMS norm";
  EXPECT_EQ(measure_dimension(testing::with_centred_inputs(config), options).dimension, 72)
      << "behind a LayerNorm without affine part";
}

// A window of one is the same for every token of a sequence: the figure contradicts the group.
TEST(MeasuredDimensionTwin, ContradictsAGroupThatDoesNotKnowOfATooNarrowWindow) {
  AttentionConfig config = tiny_config(2, 2);
  config.window = 1;
  EXPECT_EQ(measure_dimension(config).dimension, 132);
  EXPECT_EQ(symmetry_of(config).dimension(), 50);
}

TEST(MeasuredDimension, DoesNotDependOnTheDraw) {
  for (const std::uint64_t seed : {2, 3}) {
    MeasureOptions options;
    options.seed = seed;
    EXPECT_EQ(measure_dimension(tiny_config(2, 2), options).dimension, 50);
  }
}

TEST(MeasuredDimension, RefusesWhatIsTooLarge) {
  AttentionConfig config{most_measured_parameters / 4, 1, 1, 1, 1};
  EXPECT_EQ(config.parameter_count(), most_measured_parameters);
  config.output_bias = true;
  EXPECT_THROW(measure_dimension(config), ShapeError);
}

}  // namespace
}  // namespace attnsym
