#include <cstdio>
#include <variant>

#include "checkpoint/dtype.hpp"
#include "nfn/equivariant_linear.hpp"
#include "symmetry/symmetry_group.hpp"
#include "verify/decide.hpp"

namespace {

attnsym::AttentionConfig two_heads() {
  attnsym::AttentionConfig config;
  config.model_width = 6;
  config.heads = config.groups = 2;
  config.key_width = config.value_width = 2;
  return config;
}

// Random weights with the rounding that storing them as F32 has left.
attnsym::StoredAttention random_module(const attnsym::AttentionConfig& config, attnsym::Random& random) {
  attnsym::StoredAttention module{config, {}, {}};
  module.weights.groups.resize(2);
  for (auto& group : module.weights.groups) {
    group.key = group.value = attnsym::Matrix<double>::Zero(6, 2);
    group.readers.push_back({attnsym::Matrix<double>::Zero(6, 2), attnsym::Matrix<double>::Zero(2, 6), {}});
  }
  attnsym::for_each_slot(module.weights, [&](auto& slot) {
    for (attnsym::Index i = 0; i < slot.size(); ++i) slot(i) = random.normal();
  });
  return module;
}

void note_rounding(attnsym::StoredAttention& module) {
  const attnsym::Rounding rounding = attnsym::rounding_of(attnsym::Dtype::F32);
  module.radius = module.weights;
  attnsym::for_each_slot(module.radius, [&](auto& slot) {
    for (attnsym::Index i = 0; i < slot.size(); ++i) slot(i) = rounding.radius(slot(i));
  });
}

bool fail(const char* what) {
  std::fprintf(stderr, "stranger: %s\n", what);
  return false;
}

bool decides() {
  const attnsym::AttentionConfig config = two_heads();
  attnsym::Random random(1);
  attnsym::StoredAttention a = random_module(config, random);
  attnsym::StoredAttention b = a;
  b.weights = act(attnsym::symmetry_of(config).sample<double>(random), a.weights);
  attnsym::StoredAttention c = b;
  c.weights.groups[0].key(0, 0) += 0.5;
  note_rounding(a);
  note_rounding(b);
  note_rounding(c);
  if (!std::holds_alternative<attnsym::Equivalent>(attnsym::decide_equivalence(a, b).verdict)) {
    return fail("a moved module is not equivalent");
  }
  if (!std::holds_alternative<attnsym::Distinct>(attnsym::decide_equivalence(a, c).verdict)) {
    return fail("an edited module is not distinct");
  }
  return true;
}

bool knows_layers() {
  const attnsym::EquivariantLinear<double> layer(3, 1, 1);
  const auto weights = attnsym::WeightFeatures<double>::zero({3, 2, 2, 2, 3}, 1, 1);
  return layer(weights) == weights || fail("a layer without parameters is not zero");
}

}  // namespace

int main() { return decides() && knows_layers() ? 0 : 1; }
