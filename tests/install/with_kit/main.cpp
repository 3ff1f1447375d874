#include <cstdio>

#include "nfn/equivariant_linear.hpp"
#include "nfn/testing/block_group.hpp"
#include "verify/testing/equivariance.hpp"
#include "verify/testing/expect_equivariant.hpp"

namespace {

bool fail(const char* what) {
  std::fprintf(stderr, "with_kit: %s\n", what);
  return false;
}

bool tests_a_layer() {
  attnsym::AttentionConfig config;
  config.model_width = 6;
  config.heads = config.groups = 2;
  config.key_width = config.value_width = 2;
  using Weights = attnsym::AttentionWeights<double>;
  const auto unchanged = [](const Weights& weights) { return weights; };
  const auto shifted = [](Weights weights) {
    weights.groups[0].key.array() += 1;
    return weights;
  };
  if (!attnsym::testing::is_equivariant<double>(unchanged, config))
    return fail("the identity is not equivariant");
  std::fprintf(stderr, "One failing property follows, as it should.\n");
  if (attnsym::testing::is_equivariant<double>(shifted, config))
    return fail("a shift of one key is equivariant");
  return true;
}

// A layer of this project, and the same with an activation where none may be.
bool tests_a_block_layer() {
  const attnsym::testing::BlockGroup group{{3, 2, 2, 2, 3}};
  const attnsym::EquivariantLinear<double> layer(3, 1, 1);
  const auto relu_on_q = [](auto weights) {
    weights.query = weights.query.cwiseMax(0).eval();
    return weights;
  };
  if (!attnsym::testing::expect_equivariant(layer, group))
    return fail("a layer of the library is not equivariant");
  if (!attnsym::testing::expect_not_equivariant(relu_on_q, group, {"QK gauge"}))
    return fail("an activation on queries is not attributed to the QK gauge");
  return true;
}

}  // namespace

int main() { return tests_a_layer() && tests_a_block_layer() ? 0 : 1; }
