// A layer of one's own, and a careless one: which symmetries of transformer blocks does each commute with?
#include "nfn/testing/block_group.hpp"
#include "verify/testing/expect_equivariant.hpp"

// Hidden units learn how much all heads write together. `auto`, so that the kit can try it at 50 digits.
const auto own_layer = [](auto weights) {
  weights.up_bias.array() += (weights.value * weights.output.transpose()).sum();
  return weights;
};

// The same of the values alone, which depend on the basis that they are in.
const auto careless_layer = [](auto weights) {
  weights.up_bias.array() += weights.value.sum();
  return weights;
};

int main() {
  const attnsym::testing::BlockGroup group{{3, 2, 2, 2, 3}};  // D 3, 2 heads of width 2, 3 hidden units
  const bool passed = expect_equivariant(own_layer, group);
  return passed && expect_not_equivariant(careless_layer, group, {"VO gauge"}) ? 0 : 1;
}
