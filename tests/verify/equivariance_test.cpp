// The test kit is itself tested: it passes a correct layer and catches broken ones, NaN included.
#include "verify/testing/equivariance.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "symmetry/random.hpp"

namespace attnsym::testing {
namespace {

AttentionConfig small() {
  AttentionConfig c{4, 3, 3, 2, 2};
  c.key_bias = c.value_bias = c.output_bias = true;
  return c;
}

using Weights = AttentionWeights<double>;

// What a layer with a D x D matrix on the left of every query, key and value does: it commutes with all
// gauges.
Weights mix_inputs(Weights w) {
  const Matrix<double> p = fixed_probe<double>(4, 4, 1);
  for (auto& group : w.groups) {
    group.key = p * group.key;
    group.value = p * group.value;
    for (auto& reader : group.readers) reader.query = p * reader.query;
  }
  return w;
}

TEST(IsEquivariant, PassesACorrectLayer) { EXPECT_TRUE(is_equivariant<double>(mix_inputs, small())); }

TEST(IsEquivariant, CatchesActivationOnQueries) {
  const auto relu = [](Weights w) {
    for (auto& group : w.groups) group.readers[0].query = group.readers[0].query.cwiseMax(0);
    return w;
  };
  EXPECT_FALSE(is_equivariant<double>(relu, small()));
}

TEST(IsEquivariant, CatchesALayerThatSinglesOutAHead) {
  const auto first_head = [](Weights w) {
    w.groups[0].key *= 2;
    return w;
  };
  EXPECT_FALSE(is_equivariant<double>(first_head, small()));
}

TEST(IsEquivariant, CatchesABiasWithoutItsShift) {
  const auto halve = [](Weights w) {
    w.groups[1].key_bias *= 0.5;
    return w;
  };
  EXPECT_FALSE(is_equivariant<double>(halve, small()));
}

TEST(IsEquivariant, NanFails) {
  const auto nan = [](Weights w) {
    for_each_slot(w, [](auto& slot) { slot.setConstant(std::numeric_limits<double>::quiet_NaN()); });
    return w;
  };
  EXPECT_FALSE(is_equivariant<double>(nan, small()));
}

TEST(IsEquivariant, AGroupWithNothingButTheIdentityShowsNothing) {
  AttentionConfig trivial{3, 1, 1, 1, 1};
  const auto anything = [](Weights w) { return w; };
  EXPECT_TRUE(is_equivariant<double>(anything, small()));
  // One head of width one: signs are all that is left, and most draws are trivial.
  EXPECT_FALSE(is_equivariant<double>(anything, trivial));
}

}  // namespace
}  // namespace attnsym::testing
