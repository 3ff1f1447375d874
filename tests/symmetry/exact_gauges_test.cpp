// Monomial gauges narrowed to what a format holds: products are exact, and no more is given up than needed.
#include "symmetry/exact_gauges.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/random_module.hpp"

namespace attnsym {
namespace {

constexpr ExponentRange half{-24, 15};
constexpr ModuleFormats halves{half, half, half, half};

AttentionConfig config_of() {
  AttentionConfig config{6, 4, 2, 3, 2};
  config.query_bias = config.key_bias = config.value_bias = config.output_bias = true;
  return config;
}

// To a multiple of 2^-24 of at most 11 bits.
double to_half(double w) {
  if (w == 0) return 0;
  const double step = std::ldexp(1.0, std::max(std::ilogb(w) - 10, half.lowest));
  return std::nearbyint(w / step) * step;
}

bool is_half(double w) { return std::abs(w) < 65536 && to_half(w) == w; }

// Half-precision numbers of all sizes: large, small and subnormal ones.
AttentionWeights<double> half_weights(const AttentionConfig& config, double size) {
  AttentionWeights<double> weights = testing::random_weights<double>(config, 3);
  Random random(4);
  for_each_slot(weights, [&](auto& slot) {
    for (Index i = 0; i < slot.size(); ++i)
      slot.data()[i] = to_half(slot.data()[i] * size * std::ldexp(1.0, static_cast<int>(random.below(6))));
  });
  return weights;
}

bool all_halves(const AttentionWeights<double>& weights) {
  bool all = true;
  for_each_slot(weights, [&](const auto& slot) {
    for (Index i = 0; i < slot.size(); ++i) all = all && is_half(slot.data()[i]);
  });
  return all;
}

AttentionElement<double> monomial(const AttentionConfig& config, Random& random) {
  SampleOptions options;
  options.monomial = true;
  options.bias = false;
  options.condition = 1e6;
  return symmetry_of(config).sample<double>(random, options);
}

TEST(ExactGauges, RoundNothingWhateverTheSizeOfTheWeights) {
  const AttentionConfig config = config_of();
  int rounded_before = 0;
  for (const double size : {1e-7, 1e-4, 1.0, 1e3}) {
    const AttentionWeights<double> weights = half_weights(config, size);
    ASSERT_TRUE(all_halves(weights)) << size;
    Random random(5);
    for (int draw = 0; draw < 20; ++draw) {
      const AttentionElement<double> drawn = monomial(config, random);
      rounded_before += all_halves(act(drawn, weights)) ? 0 : 1;
      const AttentionElement<double> element = with_exact_products(drawn, weights, halves);
      const AttentionWeights<double> moved = act(element, weights);
      EXPECT_TRUE(all_halves(moved)) << size;
      EXPECT_EQ(act(inverse(element), moved), weights) << size;
    }
  }
  EXPECT_GT(rounded_before, 40) << "the weights are too tame to test anything";
}

TEST(ExactGauges, LeaveAloneWhatFits) {
  const AttentionConfig config = config_of();
  const AttentionWeights<double> weights = testing::random_weights<double>(config, 3);
  constexpr ExponentRange wide{-1074, 1023};
  Random random(6);
  const AttentionElement<double> drawn = monomial(config, random);
  EXPECT_EQ(with_exact_products(drawn, weights, {wide, wide, wide, wide}), drawn);
}

}  // namespace
}  // namespace attnsym
