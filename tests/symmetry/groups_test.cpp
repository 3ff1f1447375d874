// One set of laws for every group there is [N2, N5, N12]: they are groups that act, elements drawn at random
// are members, and so are products and inverses of members.
#include <gtest/gtest.h>

#include "symmetry/folding.hpp"
#include "symmetry/mla_symmetry.hpp"
#include "symmetry/random_gauge.hpp"
#include "symmetry/transformer_group.hpp"
#include "tests/support/attention_kinds.hpp"
#include "tests/support/random_mla.hpp"
#include "tests/support/random_module.hpp"
#include "tests/support/random_transformer.hpp"
#include "verify/testing/generators.hpp"
#include "verify/testing/laws.hpp"

namespace attnsym {
namespace {

template <class Weights, class ForEachSlot>
RowVector<double> in_one_row(const Weights& weights, ForEachSlot for_each) {
  std::vector<double> values;
  for_each(weights,
           [&](const auto& slot) { values.insert(values.end(), slot.data(), slot.data() + slot.size()); });
  return Eigen::Map<const RowVector<double>>(values.data(), static_cast<Index>(values.size()));
}

}  // namespace

// What the laws take for equal, found by argument-dependent lookup.
bool close(const StreamMove& a, const StreamMove& b, double slack) {
  return is_close(a.matrix, b.matrix, slack);
}

bool close(const NeuronMove& a, const NeuronMove& b, double slack) {
  return a.order == b.order && is_close(a.scale, b.scale, slack) &&
         is_close(a.gate_scale, b.gate_scale, slack);
}

bool close(const TransformerElement& a, const TransformerElement& b, double slack) {
  if (a.attention.size() != b.attention.size() || a.neurons.size() != b.neurons.size()) return false;
  for (std::size_t i = 0; i < a.attention.size(); ++i) {
    if (!testing::close(a.attention[i], b.attention[i], slack)) return false;
    if (!close(a.neurons[i], b.neurons[i], slack)) return false;
  }
  // The shift is compared at the size of the stream: it may cancel to nothing.
  const auto rows = [](const TransformerElement& g) {
    Matrix<double> both(g.stream.matrix.rows() + 1, g.stream.matrix.cols());
    both << g.stream.matrix, g.shift;
    return both;
  };
  return is_close(rows(a), rows(b), slack);
}

bool close(const MlaWeights<double>& a, const MlaWeights<double>& b, double slack) {
  const auto row = [](const auto& w) {
    return in_one_row(w, [](const auto& all, auto visit) { for_each_mla_slot(all, visit); });
  };
  return is_close(row(a), row(b), slack);
}

bool close(const TransformerWeights<double>& a, const TransformerWeights<double>& b, double slack) {
  const auto row = [](const auto& w) {
    return in_one_row(w, [](const auto& all, auto visit) { for_each_transformer_slot(all, visit); });
  };
  return is_close(row(a), row(b), slack);
}

bool close(const Mlp<double>& a, const Mlp<double>& b, double slack) {
  return is_close(a.up, b.up, slack) && is_close(a.gate, b.gate, slack) && is_close(a.down, b.down, slack) &&
         is_close(a.up_bias, b.up_bias, slack) && is_close(a.gate_bias, b.gate_bias, slack) &&
         is_close(a.down_bias, b.down_bias, slack);
}

namespace testing {
namespace {

// Each of these is one group of some shape: it draws elements, knows its members, and has something to act
// on.
struct Permutations {
  Index size;
  explicit Permutations(Random& random) : size(3 + random.below(4)) {}
  Permutation sample(Random& random) const { return random_permutation(random, size); }
  bool contains(const Permutation& p) const { return p.size() == size; }
  std::vector<Index> point(Random& random) const {
    std::vector<Index> items;
    for (Index i = 0; i < size; ++i) items.push_back(random.below(100));
    return items;
  }
};

struct LinearGauges {
  Index size;
  explicit LinearGauges(Random& random) : size(1 + random.below(5)) {}
  GeneralLinear<double> sample(Random& random) const { return random_gauge<double>(random, size, 10); }
  bool contains(const GeneralLinear<double>& g) const { return g.size() == size; }
};

struct AffineGauges {
  LinearGauges linear;
  explicit AffineGauges(Random& random) : linear(random) {}
  Affine<double> sample(Random& random) const {
    const GeneralLinear<double> gauge = linear.sample(random);
    RowVector<double> shift(gauge.size());
    for (double& entry : shift) entry = random.normal();
    return {gauge, shift};
  }
  bool contains(const Affine<double>& g) const {
    return linear.contains(g.linear) && g.shift.size() == linear.size;
  }
};

template <class Item>
const Item& any_of(const std::vector<Item>& items, Random& random) {
  return items[static_cast<std::size_t>(random.below(static_cast<Index>(items.size())))];
}

struct AttentionOfEveryKind {
  AttentionConfig config;
  SymmetryGroup group;
  explicit AttentionOfEveryKind(Random& random)
      : config(any_of(attention_kinds(), random).config), group(symmetry_of(config)) {}
  AttentionElement<double> sample(Random& random) const { return group.sample<double>(random); }
  bool contains(const AttentionElement<double>& g) const { return group.contains(g); }
  AttentionWeights<double> point(Random& random) const {
    return random_weights<double>(config, random.bits());
  }
};

struct LatentAttention {
  MlaConfig config;
  MlaSymmetryGroup group;
  explicit LatentAttention(Random& random)
      : config(random.below(2) == 0 ? small_mla() : small_mla_with_two_pairs()), group(symmetry_of(config)) {}
  MlaElement<double> sample(Random& random) const { return group.sample<double>(random); }
  bool contains(const MlaElement<double>& g) const { return group.contains(g); }
  MlaWeights<double> point(Random& random) const { return random_mla<double>(config, random.bits()); }
};

std::vector<TransformerConfig> transformers() {
  std::vector<TransformerConfig> all;
  for (const NormKind norm : {NormKind::Rms, NormKind::Layer}) {
    for (const NormPlacement placement :
         {NormPlacement::Before, NormPlacement::After, NormPlacement::OnBranch, NormPlacement::Around}) {
      for (const bool gated : {false, true}) {
        TransformerConfig config = small_transformer(norm, placement);
        config.mlp.gated = gated;
        config.mlp.activation = gated ? Activation::Silu : Activation::Relu;
        all.push_back(config);
        config.mlp.activation = gated ? Activation::Relu : Activation::Gelu;
        config.positions = 0;
        config.head = gated ? Head::None : Head::Tied;
        all.push_back(config);
      }
    }
  }
  return all;
}

struct WholeModels {
  TransformerGroup group;
  explicit WholeModels(Random& random) : group(any_of(transformers(), random)) {}
  TransformerElement sample(Random& random) const { return group.sample(random); }
  bool contains(const TransformerElement& g) const { return group.contains(g); }
  TransformerWeights<double> point(Random& random) const {
    TransformerWeights<double> weights = random_transformer(group.config(), random.bits());
    const auto stream = group.stream();
    const bool rotates =
        stream == TransformerGroup::Stream::Orthogonal || stream == TransformerGroup::Stream::Centred;
    return rotates ? folded(group.config(), std::move(weights)) : weights;
  }
};

struct Neurons {
  WholeModels models;
  explicit Neurons(Random& random) : models(random) {}
  NeuronMove sample(Random& random) const { return models.sample(random).neurons.front(); }
  bool contains(const NeuronMove& g) const { return allows(models.group.config().mlp, g); }
  Mlp<double> point(Random& random) const { return models.point(random).blocks.front().mlp; }
};

struct Streams {
  WholeModels models;
  explicit Streams(Random& random) : models(random) {}
  StreamMove sample(Random& random) const { return models.sample(random).stream; }
  bool contains(const StreamMove& g) const {
    TransformerElement element = models.group.identity();
    element.stream = g;
    return models.group.contains(element);
  }
  TransformerWeights<double> point(Random& random) const { return models.point(random); }
};

template <class Group>
class EveryGroup : public ::testing::Test {};
using Groups = ::testing::Types<Permutations, LinearGauges, AffineGauges, AttentionOfEveryKind,
                                LatentAttention, Neurons, Streams, WholeModels>;
TYPED_TEST_SUITE(EveryGroup, Groups);

TYPED_TEST(EveryGroup, ObeysTheLaws) {
  constexpr double slack = 1e3;  // of products of gauges of condition 10
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("laws", [&] {
    Random random(static_cast<std::uint64_t>(*whole_range(0, 1 << 30)));
    const TypeParam group(random);
    const auto g = group.sample(random);
    const auto h = group.sample(random);
    trivial.note(g);
    group_laws(g, h, group.sample(random), slack);
    membership_laws(group, g, h);
    if constexpr (requires { group.point(random); }) action_laws(g, h, group.point(random), slack);
  }));
  EXPECT_LE(trivial.share(), 0.5) << "some of these groups are small";
}

}  // namespace
}  // namespace testing
}  // namespace attnsym
