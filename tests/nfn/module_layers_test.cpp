// The layers for attention modules with grouped queries and rotary positions: invariance under the groups of
// symmetry/, completeness, derivatives.
#include <gtest/gtest.h>

#include <numbers>

#include "nfn/gauge_commutant.hpp"
#include "nfn/module_invariant.hpp"
#include "nfn/module_linear.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/score_terms.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/nfn/expect_gradients.hpp"
#include "tests/nfn/null_spaces.hpp"
#include "tests/nfn/rotary_group.hpp"
#include "tests/support/attention_kinds.hpp"
#include "tests/support/random_module.hpp"
#include "verify/testing/closeness.hpp"
#include "verify/testing/expect_equivariant.hpp"

namespace attnsym::testing {
namespace {

struct Kind {
  const char* name;
  AttentionConfig config;
  std::size_t basis;  // real blocks, and complex ones twice
};

AttentionConfig grouped(Index width, std::vector<double> frequencies) {
  AttentionConfig c = with_rotary(tiny_config(4, 2), std::move(frequencies));
  c.model_width = width;
  c.scale = 1;
  return c;
}

std::vector<Kind> kinds(Index width) {
  const std::vector<double> two{1.0, 0.3};
  AttentionConfig interleaved = grouped(width, two);
  interleaved.rotary.layout = PairLayout::Interleaved;
  AttentionConfig single = grouped(width, two);
  single.groups = 4;
  AttentionConfig multi_query = grouped(width, {0.7});
  multi_query.groups = 1;
  AttentionConfig capped = grouped(width, {});
  capped.softcap = 3;
  return {{"grouped, no positions", grouped(width, {}), 1},
          {"grouped, rotary", grouped(width, two), 4},
          {"grouped, rotary, interleaved", interleaved, 4},
          {"as many groups as heads, rotary", single, 4},
          {"one group, half rotary", multi_query, 3},
          {"grouped, equal frequencies", grouped(width, {0.7, 0.7}), 2},
          {"grouped, opposite frequencies", grouped(width, {0.7, -0.7}), 2},
          {"grouped, a frequency pi", grouped(width, {0.7, std::numbers::pi}), 3},
          {"grouped, softcap", capped, 1}};
}

template <Scalar S>
ModuleLinear<S> linear_layer(const AttentionConfig& config, std::uint64_t seed) {
  ModuleLinear<S> layer(config, config.model_width + 1);
  randomize<S>(layer, seed);
  return layer;
}

template <Scalar S>
ModuleInvariant<S> invariant_layer(const AttentionConfig& config, std::uint64_t seed) {
  ModuleInvariant<S> layer(config, 2, 2);
  randomize<S>(layer, seed);
  return layer;
}

template <class Weights>
using ScalarOf = typename std::decay_t<decltype(std::declval<Weights>().groups[0].key)>::Scalar;

TEST(GaugeCommutant, CommutesWithWhatSymmetrySamples) {
  Random random(1);
  for (const Kind& kind : kinds(3)) {
    const auto basis = gauge_commutant<double>(kind.config);
    EXPECT_EQ(basis.size(), kind.basis) << kind.name;
    const auto g = symmetry_of(kind.config).sample<double>(random);
    for (const Matrix<double>& t : basis) {
      for (const auto& move : g.local) {
        const Matrix<double>& a = qk_gauge(move).linear.matrix();
        EXPECT_TRUE(is_close(Matrix<double>(a * t), Matrix<double>(t * a), 100)) << kind.name;
      }
    }
  }
}

// Names the families that break, with a replay line, if any does.
TEST(ModuleLinear, CommutesWithEveryFamily) {
  for (const Kind& kind : kinds(2)) {
    const auto layer = [&](const auto& w) { return linear_layer<ScalarOf<decltype(w)>>(kind.config, 1)(w); };
    EXPECT_TRUE(expect_equivariant(layer, RotaryGroup{kind.config}, {.draws = 30})) << kind.name;
  }
}

TEST(ModuleInvariant, IsInvariantUnderEveryFamily) {
  for (const Kind& kind : kinds(2)) {
    const auto layer = [&](const auto& w) {
      return invariant_layer<ScalarOf<decltype(w)>>(kind.config, 1)(w);
    };
    EXPECT_TRUE(expect_equivariant(layer, RotaryGroup{kind.config}, {.draws = 30})) << kind.name;
  }
}

// Twin: the layers for rotary positions tell coordinates of keys apart, which GL(dk) mixes.
TEST(ModuleLayers, ForRotaryPositionsBreakTheGaugesOfOthers) {
  const AttentionConfig plain = grouped(2, {});
  const AttentionConfig rotary = grouped(2, {1.0, 0.3});
  const auto linear = [&](const auto& w) { return linear_layer<ScalarOf<decltype(w)>>(rotary, 1)(w); };
  const auto invariant = [&](const auto& w) { return invariant_layer<ScalarOf<decltype(w)>>(rotary, 1)(w); };
  EXPECT_TRUE(expect_not_equivariant(linear, RotaryGroup{plain}, {"QK gauge"}));
  EXPECT_TRUE(expect_not_equivariant(invariant, RotaryGroup{plain}, {"QK gauge"}));
}

TEST(ModuleLayers, AreExactOverTheRationals) {
  using S = Rational;
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("L(g w) == g L(w), I(g w) == I(w)", [&] {
    const auto all = kinds(*whole_range(1, 3));
    const AttentionConfig config = all[*whole_range(0, static_cast<int>(all.size()) - 1)].config;
    const auto g = *rotary_element<S>(config);
    const auto w = *weights<S>(config);
    trivial.note(g);
    const auto seed = *rc::gen::arbitrary<std::uint64_t>();
    const ModuleLinear<S> layer = linear_layer<S>(config, seed);
    RC_ASSERT(layer(act(g, w)) == act(g, layer(w)));
    const ModuleInvariant<S> invariant = invariant_layer<S>(config, seed);
    RC_ASSERT(invariant(act(g, w)) == invariant(w));
  }));
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

// What symmetry_of(config) draws itself, rotations and complex numbers of condition 10.
TEST(ModuleLayers, CommuteWithSampledElements) {
  Random random(3);
  for (const Kind& kind : kinds(3)) {
    const auto w = random_weights<double>(kind.config, 5);
    const auto g = symmetry_of(kind.config).sample<double>(random);
    ASSERT_FALSE(close(act(g, w), w, 1e9));
    const auto layer = linear_layer<double>(kind.config, 1);
    EXPECT_TRUE(close(layer(act(g, w)), act(g, layer(w)), 1000)) << kind.name;
    const auto invariant = invariant_layer<double>(kind.config, 1);
    EXPECT_TRUE(is_close(invariant(act(g, w)), invariant(w), 1000)) << kind.name;
  }
}

// F1 with one entry is that entry of a term of the score, summed over heads.
TEST(ModuleInvariant, ReadsTheTermsOfScores) {
  for (const Kind& kind : kinds(2)) {
    const auto w = random_weights<double>(kind.config, 6);
    Matrix<double> sums;
    for (Index head = 0; head < kind.config.heads; ++head) {
      const auto terms = score_terms(kind.config, w, head);
      ASSERT_EQ(terms.size(), kind.basis) << kind.name;
      Matrix<double> column(static_cast<Index>(terms.size()) * 4, 1);
      for (std::size_t t = 0; t < terms.size(); ++t) {
        // Without query bias the last row of a circuit is zero.
        const Matrix<double> form = (terms[t].circuit.left * terms[t].circuit.right.transpose()).topRows(2);
        column.middleRows(static_cast<Index>(t) * 4, 4) = form.transpose().reshaped();
      }
      sums = head == 0 ? column : Matrix<double>(sums + column);
    }
    for (Index i = 0; i < sums.size(); ++i) {
      ModuleInvariant<double> layer(kind.config, 0, 1);
      layer.parameters()[0](i) = 1;
      EXPECT_NEAR(layer(w)(0), sums(i), 1e-12) << kind.name;
    }
  }
}

// Gauges times 1/2, 1 or 2: those of a real block have determinant one up to sign as they are drawn, and
// SL(2) has commuting maps that GL(2) has not.
AttentionElement<double> rescaled(AttentionElement<double> g, Random& random) {
  for (auto& move : g.local) {
    for (Affine<double>* gauge : {&move.second.first, &move.second.second}) {
      const double factor = std::exp2(static_cast<double>(random.below(3)) - 1);
      gauge->linear = GeneralLinear<double>::from_matrix_and_inverse(gauge->linear.matrix() * factor,
                                                                     gauge->linear.inverse_matrix() / factor);
    }
  }
  return g;
}

// Completeness, at one model coordinate: D^2 copies of everything do not make more kinds of maps. One matrix
// per element for Q, K, V, O of all heads, in turn.
std::vector<Representation> on_module(const AttentionConfig& config) {
  Random random(1);
  std::vector<Representation> result(4);
  for (int element = 0; element < 6; ++element) {
    const auto g = rescaled(symmetry_of(config).sample<double>(random, {.condition = 3}), random);
    EXPECT_TRUE(symmetry_of(config).contains(g));
    auto basis = random_weights<double>(config, 1);
    for_each_slot(basis, [](auto& slot) { slot.setZero(); });
    const auto entries_of = [](const AttentionWeights<double>& w) {
      std::vector<std::vector<double>> entries(4);
      const auto note = [&](std::size_t tensor, const Matrix<double>& m) {
        entries[tensor].insert(entries[tensor].end(), m.data(), m.data() + m.size());
      };
      for (const auto& group : w.groups) {
        note(1, group.key);
        note(2, group.value);
        for (const auto& reader : group.readers) note(0, reader.query), note(3, reader.output);
      }
      return entries;
    };
    std::vector<Matrix<double>> moved(4);
    std::vector<Index> column(4, 0);
    for (std::size_t t = 0; t < 4; ++t) {
      const auto size = static_cast<Index>(entries_of(basis)[t].size());
      moved[t] = Matrix<double>::Zero(size, size);
    }
    const auto image_of = [&](std::size_t tensor, Matrix<double>& slot) {
      for (Index i = 0; i < slot.size(); ++i) {
        slot(i) = 1;
        const auto entries = entries_of(act(g, basis))[tensor];
        moved[tensor].col(column[tensor]++) =
            Eigen::Map<const Eigen::VectorXd>(entries.data(), static_cast<Index>(entries.size()));
        slot(i) = 0;
      }
    };
    for (auto& group : basis.groups) {
      image_of(1, group.key);
      image_of(2, group.value);
      for (auto& reader : group.readers) {
        image_of(0, reader.query);
        image_of(3, reader.output);
      }
    }
    for (std::size_t t = 0; t < 4; ++t) result[t].push_back(moved[t]);
  }
  return result;
}

Representation products(const Representation& a, const Representation& b) {
  Representation result;
  for (std::size_t g = 0; g < a.size(); ++g) {
    Matrix<double> product(a[g].rows() * b[g].rows(), a[g].cols() * b[g].cols());
    for (Index i = 0; i < a[g].rows(); ++i) {
      for (Index j = 0; j < a[g].cols(); ++j)
        product.block(i * b[g].rows(), j * b[g].cols(), b[g].rows(), b[g].cols()) = a[g](i, j) * b[g];
    }
    result.push_back(std::move(product));
  }
  return result;
}

TEST(ModuleLinear, IsComplete) {
  for (const Kind& kind : kinds(1)) {
    const auto tensors = on_module(kind.config);
    Index dimension = 0;
    for (const Representation& out : tensors) {
      for (const Representation& in : tensors) dimension += intertwiners(out, in);
    }
    EXPECT_EQ(dimension, ModuleLinear<double>::parameter_count(kind.config, 1)) << kind.name;
  }
}

TEST(ModuleInvariant, IsComplete) {
  for (const Kind& kind : kinds(1)) {
    const auto tensors = on_module(kind.config);
    const Representation one(tensors[0].size(), Matrix<double>::Ones(1, 1));
    Index dimension = intertwiners(one, one) + intertwiners(one, products(tensors[0], tensors[1])) +
                      intertwiners(one, products(tensors[2], tensors[3]));
    for (const Representation& in : tensors) dimension += intertwiners(one, in);
    EXPECT_EQ(dimension, ModuleInvariant<double>::parameter_count(kind.config, 0, 1)) << kind.name;
  }
}

TEST(ModuleLayers, CountTheirParameters) {
  for (const Kind& kind : kinds(3)) {
    ModuleLinear<float> linear(kind.config, 5);
    const auto basis = static_cast<Index>(kind.basis);
    const Index kinds_of_maps = kind.config.readers_per_group() > 1 ? 3 : 2;
    EXPECT_EQ(parameter_count(linear.parameters()), 5 * 3 * kinds_of_maps * (basis + 1)) << kind.name;
    EXPECT_EQ(ModuleLinear<float>::parameter_count(kind.config, 5), parameter_count(linear.parameters()));
    ModuleInvariant<float> invariant(kind.config, 4, 2);
    EXPECT_EQ(parameter_count(invariant.parameters()),
              2 * (9 * (basis + 1) + 1) + 4 * 9 * (basis + 1) + 2 * 4);
    EXPECT_EQ(ModuleInvariant<float>::parameter_count(kind.config, 4, 2),
              parameter_count(invariant.parameters()));
  }
}

TEST(Gradient, OfTheModuleLayers) {
  using S = Float50;
  const DifferenceOptions<S> smooth{S("1e-14"), S("1e-24")};
  for (const Kind& kind : kinds(2)) {
    AttentionConfig of_outputs = kind.config;
    of_outputs.model_width = 3;
    expect_gradients<S>(ModuleLinear<S>(kind.config, 3), random_weights<S>(kind.config, 1),
                        random_weights<S>(of_outputs, 2));
    expect_gradients<S>(ModuleInvariant<S>(kind.config, 2, 2), random_weights<S>(kind.config, 1),
                        Matrix<S>(fixed_probe<S>(2, 1, 3)), smooth);
  }
}

// Outputs and derivatives of both layers, as double.
template <class S>
std::vector<double> numbers_of(const AttentionConfig& config) {
  std::vector<double> numbers;
  const auto note = [&](const auto& matrix) {
    for (Index i = 0; i < matrix.size(); ++i) numbers.push_back(static_cast<double>(matrix.data()[i]));
  };
  const auto w = cast<S>(random_weights<double>(config, 1));
  AttentionConfig of_outputs = config;
  of_outputs.model_width += 1;
  const auto layer = linear_layer<S>(config, 1);
  const auto output = layer(w);
  for_each_slot(output, note);
  auto gradients = layer.backward(w, cast<S>(random_weights<double>(of_outputs, 2)));
  for_each_slot(gradients.input, note);
  for (const Matrix<S>* matrix : parameter_matrices(gradients.parameters.parameters())) note(*matrix);
  const auto invariant = invariant_layer<S>(config, 1);
  note(invariant(w));
  auto by_invariant = invariant.backward(w, Matrix<S>::Ones(2, 1));
  for_each_slot(by_invariant.input, note);
  for (const Matrix<S>* matrix : parameter_matrices(by_invariant.parameters.parameters())) note(*matrix);
  return numbers;
}

TEST(ModuleLayers, FollowTheRationalsInFloatAndDouble) {
  const AttentionConfig config = grouped(2, {1.0, 0.3});
  const std::vector<double> exact = numbers_of<Rational>(config);
  const std::vector<double> in_double = numbers_of<double>(config);
  const std::vector<double> in_float = numbers_of<float>(config);
  ASSERT_EQ(exact.size(), in_double.size());
  ASSERT_EQ(exact.size(), in_float.size());
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double size = 1 + std::abs(exact[i]);
    EXPECT_NEAR(in_double[i], exact[i], 10 * tolerance<double>() * size);
    EXPECT_NEAR(in_float[i], exact[i], 10 * static_cast<double>(tolerance<float>()) * size);
  }
}

// Heads M and -M against heads 0 and 0, as in head_invariant_test: equal in sums, apart one by one.
TEST(ModuleInvariant, SeesHeadsOneByOne) {
  using S = Rational;
  AttentionConfig config = grouped(3, {1.0, 0.3});
  config.heads = 2;
  config.groups = 1;
  auto opposite = cast<S>(random_weights<double>(config, 1));
  auto& readers = opposite.groups[0].readers;
  readers[1].query = -readers[0].query;
  auto blind = opposite;
  for (auto& reader : blind.groups[0].readers) reader.query.setZero();
  ModuleInvariant<S> sums(config, 0, 2);
  randomize<S>(sums, 1);
  EXPECT_EQ(sums(opposite), sums(blind));
  EXPECT_NE(invariant_layer<S>(config, 1)(opposite), invariant_layer<S>(config, 1)(blind));
}

TEST(ModuleLayers, RefuseWhatTheyDoNotRead) {
  const AttentionConfig plain = tiny_config(4, 2);
  EXPECT_THROW(ModuleLinear<double>(with_biases(plain), 1), ShapeError);
  EXPECT_THROW(ModuleInvariant<double>(with_sinks(plain), 1, 1), ShapeError);
  EXPECT_THROW(ModuleInvariant<double>(with_norms(plain), 1, 1), ShapeError);
  EXPECT_THROW(gauge_commutant<double>(with_norms(plain)), ShapeError);
  EXPECT_THROW(ModuleLinear<double>(with_slopes(plain), 1), ShapeError);
  EXPECT_THROW(ModuleLinear<double>(plain, 0), ShapeError);
  EXPECT_THROW(ModuleInvariant<double>(plain, -1, 1), ShapeError);
  EXPECT_THROW(ModuleLinear<double>(plain, 1)(random_weights<double>(tiny_config(2, 2), 1)), ShapeError);
}

}  // namespace
}  // namespace attnsym::testing
