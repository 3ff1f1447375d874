// N8: no input of bounded norm gives outputs further apart than the bound.
#include "verify/bound.hpp"

#include <gtest/gtest.h>

#include "symmetry/circuits.hpp"
#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"

namespace attnsym {
namespace {

using testing::random_weights;

double bound_of(const AttentionConfig& c, const AttentionWeights<double>& a,
                const AttentionWeights<double>& b, double radius) {
  std::vector<HeadDistance> heads;
  for (Index head = 0; head < c.heads; ++head) {
    heads.push_back({difference_norms(qk_circuit(c, a, head), qk_circuit(c, b, head)).total,
                     difference_norms(vo_circuit(c, a, head), vo_circuit(c, b, head)).total,
                     std::max(norm(vo_circuit(c, a, head)), norm(vo_circuit(c, b, head)))});
  }
  return output_bound(heads, (constant_output(c, a) - constant_output(c, b)).norm(), radius);
}

double largest_gap(const AttentionConfig& c, const AttentionWeights<double>& a,
                   const AttentionWeights<double>& b, double radius) {
  double largest = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Matrix<double> tokens = fixed_probe<double>(4, c.model_width, seed);
    tokens = tokens.rowwise().normalized() * radius;
    largest = std::max(largest, (attend(c, a, tokens) - attend(c, b, tokens)).rowwise().norm().maxCoeff());
  }
  return largest;
}

TEST(OutputBound, HoldsForRandomInputsAndEdits) {
  AttentionConfig c{6, 2, 2, 3, 2};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
  for (const double edit : {1e-6, 1e-3, 0.1, 1.0}) {
    for (const double radius : {0.1, 1.0, 3.0}) {
      const auto a = random_weights<double>(c, 1);
      auto b = a;
      b.groups[0].readers[0].query += edit * fixed_probe<double>(6, 3, 7);
      b.groups[1].value += edit * fixed_probe<double>(6, 2, 8);
      b.output_bias(0) += edit;
      const double bound = bound_of(c, a, b, radius);
      const double gap = largest_gap(c, a, b, radius);
      EXPECT_LE(gap, bound);
      EXPECT_GT(gap, 0);
      // Not vacuous: within three orders of what really happens.
      EXPECT_LT(bound, 1000 * gap);
    }
  }
}

TEST(OutputBound, IsZeroForEqualModulesAndTightForTheConstant) {
  EXPECT_EQ(output_bound({{0, 0, 5}}, 0, 3), 0);
  EXPECT_NEAR(output_bound({{0, 0, 5}}, 0.25, 3), 0.25, 1e-14);
  EXPECT_NEAR(output_bound({{0, 2, 5}}, 0, 3), 6, 1e-13);
  EXPECT_GT(output_bound({{0, 2, 5}}, 0, 3), 6) << "rounded up";
}

// At small tokens the query bias is most of the logits.
TEST(OutputBound, CountsTheQueryBias) {
  AttentionConfig c{6, 1, 1, 3, 2};
  c.query_bias = true;
  const auto a = random_weights<double>(c, 1);
  auto b = a;
  b.groups[0].readers[0].query_bias(1) += 0.5;
  constexpr double radius = 0.01;
  const double bound = bound_of(c, a, b, radius);
  EXPECT_LE(largest_gap(c, a, b, radius), bound);
  EXPECT_LT(bound, 1000 * largest_gap(c, a, b, radius));
}

TEST(OutputBound, SaturatesWhereSoftmaxDoes) {
  EXPECT_NEAR(output_bound({{1e9, 0, 1}}, 0, 1), 2, 1e-12)
      << "two softmaxes differ by at most 2 in total variation norm";
}

}  // namespace
}  // namespace attnsym
