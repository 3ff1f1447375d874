// What a canonical form takes for equal is what check takes for equal [N7].
#include "verify/stored_precision.hpp"

#include <gtest/gtest.h>

#include "tests/support/random_module.hpp"
#include "verify/rounding.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::f32;
using testing::random_weights;
using testing::stored;

AttentionConfig config() {
  AttentionConfig c{12, 3, 3, 4, 2};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
  return c;
}

TEST(StoredPrecision, NoiseIsThatOfTheCircuits) {
  const StoredAttention module = stored(config(), random_weights<double>(config(), 1), bf16);
  const HeadPrecision<double> precision = stored_precision(module);
  EXPECT_NEAR(precision.unit, bf16, 1e-12);
  EXPECT_NEAR(precision.slack, 1, 1e-6) << "float32 arithmetic is nothing beside the rounding of BF16";
  for (Index head = 0; head < 3; ++head) {
    EXPECT_NEAR(precision.qk_noise[head], rounding_noise(stored_qk_circuit(module, head)), 1e-12);
    EXPECT_NEAR(precision.vo_noise[head], rounding_noise(stored_vo_circuit(module, head)), 1e-12);
  }
}

TEST(StoredPrecision, ABiasSaysNothingOfTheMatrices) {
  StoredAttention module = stored(config(), random_weights<double>(config(), 1), f32);
  module.radius.output_bias *= 1e4;
  module.radius.groups[0].value_bias *= 1e4;
  EXPECT_NEAR(stored_precision(module).unit, f32, 1e-12);
}

TEST(StoredPrecision, SameIsWithinTheRounding) {
  StoredAttention module = stored(config(), random_weights<double>(config(), 1), f32);
  module.weights.groups[1] = module.weights.groups[0];
  module.radius.groups[1] = module.radius.groups[0];
  EXPECT_TRUE(stored_precision(module).same_qk(0, 1));
  EXPECT_FALSE(stored_precision(module).same_qk(0, 2));
  module.weights.groups[1].readers[0].query(3, 1) += 1e-3;
  EXPECT_FALSE(stored_precision(module).same_qk(0, 1));
}

}  // namespace
}  // namespace attnsym
