// In double the layers commute with gauges up to 64 ulp times the condition of the gauge, over 1,000 draws
// that shrink. An ulp is measured at the size that the sums of a layer reach: its value at absolute
// parameters and weights, as is usual for rounding errors of sums [N13].
#include <gtest/gtest.h>

#include "nfn/equivariant_linear.hpp"
#include "nfn/invariant.hpp"
#include "nfn/testing/generators.hpp"
#include "tests/nfn/conditioned_gauge.hpp"
#include "verify/testing/tensor_errors.hpp"

namespace attnsym::testing {
namespace {

constexpr double ulps = 64 * std::numeric_limits<double>::epsilon();
const BlockShape shape{3, 2, 3, 2, 3};

struct Draw {
  WeightFeatures<double> weights = *features<double>(shape, 1, 1);
  BlockElement<double> element = *block_element<double>(shape);
  double condition = 1;
  std::uint64_t seed = *rc::gen::arbitrary<std::uint64_t>();

  Draw() {
    for (HeadGauges<double>& gauges : element.first.local) {
      gauges.first = *conditioned_gauge(shape.key_width);
      gauges.second = *conditioned_gauge(shape.value_width);
      condition = std::max({condition, attnsym::condition(gauges.first), attnsym::condition(gauges.second)});
    }
  }
};

// The layer with parameters that rounding disturbs, in [-1, 1]; all positive for the sizes of sums.
template <class Layer>
Layer with_parameters(Layer layer, std::uint64_t seed, bool positive) {
  Random random(seed);
  for (const auto& view : layer.parameters()) {
    for (Index i = 0; i < view.size(); ++i) view(i) = random.uniform() / 3;
    for (Index i = 0; positive && i < view.size(); ++i) view(i) = std::abs(view(i));
  }
  return layer;
}

WeightFeatures<double> positive(WeightFeatures<double> weights) {
  for_each_tensor(weights, [](const char*, Matrix<double>& tensor) { tensor = tensor.cwiseAbs().eval(); });
  return weights;
}

// The sizes that the sums of the layer reach, by tensor.
template <class Layer>
TensorErrors sizes(const Layer& layer, const Draw& draw) {
  const auto unmoved = identity_element<double>(shape);
  const auto moved = positive(act(draw.element, draw.weights));
  TensorErrors result = tensor_errors(layer, unmoved, positive(draw.weights));
  const TensorErrors after = tensor_errors(layer, unmoved, moved);
  for (std::size_t i = 0; i < result.size(); ++i) result[i].size = std::max(result[i].size, after[i].size);
  return result;
}

template <class Layer>
bool commutes(const Layer& zero, const Draw& draw) {
  const Layer layer = with_parameters(zero, draw.seed, false);
  const TensorErrors errors = tensor_errors(layer, draw.element, draw.weights);
  const TensorErrors reached = sizes(with_parameters(zero, draw.seed, true), draw);
  for (std::size_t i = 0; i < errors.size(); ++i) {
    if (!(errors[i].absolute <= ulps * draw.condition * reached[i].size)) return false;
  }
  return true;
}

template <class Layer>
void expect_commutes(const Layer& zero) {
  TrivialCount trivial;
  rc::detail::TestParams params = rc::detail::configuration().testParams;
  params.maxSuccess = 1000;
  const auto result = rc::detail::checkTestable(
      [&] {
        const Draw draw;
        trivial.note(draw.element);
        RC_ASSERT(commutes(zero, draw));
      },
      rc::detail::TestMetadata{"rounded equivariance", "rounded equivariance"}, params);
  rc::detail::printResultMessage(result, std::cerr);
  EXPECT_TRUE(result.template is<rc::detail::SuccessResult>());
  EXPECT_LE(trivial.share(), largest_trivial_share);
}

TEST(RoundedEquivariance, OfTheEquivariantLayer) { expect_commutes(EquivariantLinear<double>(3, 1, 1)); }
TEST(RoundedEquivariance, OfTheInvariantLayer) { expect_commutes(InvariantLayer<double>(3, 1, 2)); }

// Twin: a constant of 1e-9 on Q is more than rounding.
struct OffByALittle {
  EquivariantLinear<double> layer{3, 1, 1};

  auto parameters() { return layer.parameters(); }
  WeightFeatures<double> operator()(const WeightFeatures<double>& weights) const {
    auto result = layer(weights);
    result.query.array() += 1e-9;
    return result;
  }
};

TEST(RoundedEquivariance, ASmallBreachExceedsTheBound) {
  int caught = 0;
  int draws = 0;
  rc::check("a small breach", [&] {
    const Draw draw;
    ++draws;
    if (!commutes(OffByALittle{}, draw)) ++caught;
  });
  EXPECT_GT(caught, draws / 2);
}

}  // namespace
}  // namespace attnsym::testing
