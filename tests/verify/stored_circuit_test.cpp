// Circuits as stored: scaled without changing a digit, errors carried along.
#include "verify/stored_circuit.hpp"

#include <gtest/gtest.h>

#include "tests/support/random_module.hpp"
#include "verify/rounding.hpp"

namespace attnsym {
namespace {

using testing::f16;
using testing::random_weights;
using testing::stored;

AttentionConfig config_of(Index heads) {
  AttentionConfig c{12, heads, heads, 3, 2};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
  c.scale = 0.3;
  return c;
}

Matrix<double> product(const StoredCircuit& c) {
  return std::ldexp(1.0, c.exponent) * c.value.left * c.value.right.transpose();
}

TEST(StoredCircuit, IsTheCircuitWithEntriesBelowOne) {
  const AttentionConfig c = config_of(2);
  const StoredAttention module = stored(c, random_weights<double>(c, 1), f16);
  for (Index head = 0; head < 2; ++head) {
    const StoredCircuit qk = stored_qk_circuit(module, head);
    const Circuit<double> plain = qk_circuit(c, module.weights, head);
    EXPECT_TRUE(is_close(product(qk), plain.left * plain.right.transpose()));
    EXPECT_LE(qk.value.left.cwiseAbs().maxCoeff(), 1);
    EXPECT_LE(qk.value.right.cwiseAbs().maxCoeff(), 1);
    EXPECT_TRUE(is_close(qk.radius.left, Matrix<double>(f16 * qk.value.left.cwiseAbs())));
    const StoredCircuit vo = stored_vo_circuit(module, head);
    EXPECT_TRUE(is_close(vo.radius.right, Matrix<double>(f16 * vo.value.right.cwiseAbs())));
  }
}

TEST(StoredCircuit, KeepsItsValueAtAnotherExponent) {
  const AttentionConfig c = config_of(1);
  const StoredCircuit qk = stored_qk_circuit(stored(c, random_weights<double>(c, 1), f16), 0);
  EXPECT_EQ(product(at_exponent(qk, qk.exponent + 7)), product(qk));
  EXPECT_EQ(at_exponent(qk, qk.exponent + 5000).value.left, Matrix<double>::Zero(13, 3))
      << "vanishes beside that";
}

TEST(VoSum, AddsUpAndIsZeroForNoHead) {
  const AttentionConfig c = config_of(3);
  const StoredAttention module = stored(c, random_weights<double>(c, 1), f16);
  const Matrix<double> sum = product(stored_vo_circuit(module, 0)) + product(stored_vo_circuit(module, 2));
  EXPECT_TRUE(is_close(product(stored_vo_sum(module, {0, 2})), sum));
  EXPECT_EQ(product(stored_vo_sum(module, {})), Matrix<double>::Zero(13, 12));
}

// Eight copies of one value matrix share its rounding: the error of their sum is that of one head with the
// summed output, not of eight independent ones.
TEST(VoSum, CopiesOfOneValueShareTheirErrors) {
  const AttentionConfig c = config_of(8);
  StoredAttention module = stored(c, random_weights<double>(c, 1), f16);
  for_each_slot(module.radius, [](auto& slot) { slot.setZero(); });
  std::vector<Index> heads;
  for (Index head = 0; head < 8; ++head) {
    module.weights.groups[head] = module.weights.groups[0];
    module.radius.groups[head].value = f16 * module.weights.groups[0].value.cwiseAbs();
    heads.push_back(head);
  }
  const double one = rounding_noise(stored_vo_sum(module, {0}));
  EXPECT_NEAR(rounding_noise(stored_vo_sum(module, heads)), 8 * one, 1e-9 * one);
}

}  // namespace
}  // namespace attnsym
