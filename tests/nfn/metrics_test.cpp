// Kendall's tau and R^2 against their definitions.
#include <gtest/gtest.h>

#include <rapidcheck.h>
#include <cmath>

#include "nfn/metrics.hpp"
#include "symmetry/errors.hpp"
#include "verify/testing/generators.hpp"

namespace attnsym::testing {
namespace {

// The definition, pair by pair.
double tau_by_pairs(const std::vector<double>& a, const std::vector<double>& b) {
  double score = 0;
  double untied_a = 0;
  double untied_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const int order_a = (a[i] > a[j]) - (a[i] < a[j]);
      const int order_b = (b[i] > b[j]) - (b[i] < b[j]);
      score += order_a * order_b;
      untied_a += order_a * order_a;
      untied_b += order_b * order_b;
    }
  }
  return score / std::sqrt(untied_a * untied_b);
}

// Few values, so that ties are frequent.
std::vector<double> ranking(Index length) {
  std::vector<double> values;
  for (Index i = 0; i < length; ++i) values.push_back(static_cast<double>(*whole_range(-3, 3)) / 2);
  return values;
}

TEST(KendallTau, IsItsDefinition) {
  EXPECT_TRUE(rc::check("tau by pairs", [] {
    const Index length = *whole_range(2, 30);
    const auto a = ranking(length);
    const auto b = ranking(length);
    const double tau = kendall_tau(a, b);
    const double expected = tau_by_pairs(a, b);
    const bool same = std::isnan(expected) ? std::isnan(tau) : std::abs(tau - expected) < 1e-12;
    RC_ASSERT(same);
  }));
}

TEST(KendallTau, OfKnownRankings) {
  EXPECT_EQ(kendall_tau(std::vector<double>{1, 2, 3}, std::vector<double>{10, 20, 30}), 1);
  EXPECT_EQ(kendall_tau(std::vector<double>{1, 2, 3}, std::vector<double>{3, 2, 1}), -1);
  // Of 10 pairs 2 tie in the first list and 1 in the second; concordant less discordant ones are -4: -4 /
  // sqrt(8 * 9). / 3.
  EXPECT_NEAR(kendall_tau(std::vector<double>{12, 2, 1, 12, 2}, std::vector<double>{1, 4, 7, 1, 0}),
              -0.47140452079103173, 1e-15);
}

TEST(KendallTau, IsUndefinedWithoutAnOrder) {
  const double nan = std::nan("");
  EXPECT_TRUE(std::isnan(kendall_tau(std::vector<double>{}, std::vector<double>{})));
  EXPECT_TRUE(std::isnan(kendall_tau(std::vector<double>{1}, std::vector<double>{1})));
  EXPECT_TRUE(std::isnan(kendall_tau(std::vector<double>{1, 1}, std::vector<double>{1, 2})));
  EXPECT_TRUE(std::isnan(kendall_tau(std::vector<double>{1, 2}, std::vector<double>{nan, 2})));
  EXPECT_THROW(kendall_tau(std::vector<double>{1, 2}, std::vector<double>{1}), ShapeError);
}

TEST(KendallTau, IsFastEnoughForAWholeZoo) {
  std::vector<double> a;
  std::vector<double> b;
  for (int i = 0; i < 200'000; ++i) {
    a.push_back(i);
    b.push_back(i ^ 1);  // neighbours exchanged: 100,000 of all pairs are discordant
  }
  const double pairs = 200'000.0 * 199'999.0 / 2;
  EXPECT_NEAR(kendall_tau(a, b), 1 - 2 * 100'000 / pairs, 1e-15);
}

TEST(RSquared, IsOneMinusTheUnexplainedPart) {
  const std::vector<double> labels{1, 2, 3, 4};
  EXPECT_EQ(r_squared(labels, labels), 1);
  EXPECT_EQ(r_squared(labels, std::vector<double>{2.5, 2.5, 2.5, 2.5}), 0);
  EXPECT_DOUBLE_EQ(r_squared(labels, std::vector<double>{1, 2, 3, 5}), 1 - 1.0 / 5);
  EXPECT_LT(r_squared(labels, std::vector<double>{4, 3, 2, 1}), 0);
  EXPECT_TRUE(std::isnan(r_squared(std::vector<double>{1, 1}, std::vector<double>{1, 2})));
  EXPECT_THROW(r_squared(labels, std::vector<double>{1}), ShapeError);
}

}  // namespace
}  // namespace attnsym::testing
