#pragma once

#include <gtest/gtest.h>

#include <Eigen/LU>
#include <string>

#include "tests/support/random_module.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/decide.hpp"

namespace attnsym::testing {

/// What is not in the group, moved by hand.
struct WrongMove {
  std::string name;
  AttentionConfig config;
  void (*edit)(StoredAttention& module);
};

/// Carries the keys of the first group over by L and its queries by the inverse.
inline void gauge(StoredAttention& module, const Matrix<double>& linear) {
  auto& group = module.weights.groups[0];
  group.key = group.key * linear.transpose();
  if (group.key_bias.size() > 0) group.key_bias = group.key_bias * linear.transpose();
  for (auto& reader : group.readers) {
    reader.query = reader.query * linear.inverse();
    if (reader.query_bias.size() > 0) reader.query_bias = reader.query_bias * linear.inverse();
  }
}

/// Expects that these weights and what the move makes of them are distinct, in F32 and BF16, by a witness
/// that the checker accepts.
inline void expect_distinct(const WrongMove& wrong, const AttentionWeights<double>& weights) {
  for (const double unit : {f32, bf16}) {
    const StoredAttention a = stored(wrong.config, weights, unit);
    StoredAttention moved = a;
    wrong.edit(moved);
    const StoredAttention b = stored(moved.config, moved.weights, unit);
    const Decision decision = decide_equivalence(a, b);
    const auto* distinct = std::get_if<Distinct>(&decision.verdict);
    ASSERT_NE(distinct, nullptr) << wrong.name << " at " << unit << ": " << name_of(decision.verdict);
    EXPECT_EQ(refute_witness(a, b, distinct->witness.input).value_or("holds"), "holds") << wrong.name;
  }
}

}  // namespace attnsym::testing
