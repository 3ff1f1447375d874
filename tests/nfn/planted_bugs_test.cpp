// Layers with one bug each, as people write them: the kit catches every one and names the generators it
// breaks. Correct layers raise no alarm.
#include <gtest/gtest.h>

#include "nfn/equivariant_linear.hpp"
#include "nfn/testing/block_group.hpp"
#include "tests/nfn/random_features.hpp"
#include "verify/testing/expect_equivariant.hpp"

namespace attnsym::testing {
namespace {

const BlockShape shape{3, 2, 2, 2, 3};
constexpr Index d = 3;

// A correct layer with parameters that doubles have to round: k / 24.
template <Scalar S>
EquivariantLinear<S> correct_layer(Index width, std::uint64_t seed) {
  EquivariantLinear<S> layer(width, 1, 1);
  randomize<S>(layer, seed);
  for (const auto& view : layer.parameters()) {
    for (Index i = 0; i < view.size(); ++i) view(i) /= S(3);
  }
  return layer;
}

template <Scalar S>
WeightFeatures<S> correct(const WeightFeatures<S>& w) {
  static const EquivariantLinear<S> layer = correct_layer<S>(d, 1);
  return layer(w);
}

// The columns of one head.
template <class S>
auto head(Matrix<S>& tensor, Index i, Index width) {
  return tensor.middleCols(i * width, width);
}
template <class S>
auto head(const Matrix<S>& tensor, Index i, Index width) {
  return tensor.middleCols(i * width, width);
}

template <class S>
Matrix<S> value_output(const WeightFeatures<S>& w) {
  return w.value * w.output.transpose();
}

// How one bug is planted: in what the correct layer returns, knowing what it was given.
struct Bug {
  const char* name;
  std::vector<std::string> breaks;
  void (*in_double)(const WeightFeatures<double>& input, WeightFeatures<double>& result);
  void (*at_50_digits)(const WeightFeatures<Float50>& input, WeightFeatures<Float50>& result);

  template <class Plant>
  Bug(const char* bug, std::vector<std::string> broken, Plant)
      : name(bug),
        breaks(std::move(broken)),
        in_double([](const auto& in, auto& out) { Plant{}(in, out); }),
        at_50_digits([](const auto& in, auto& out) { Plant{}(in, out); }) {}

  WeightFeatures<double> operator()(const WeightFeatures<double>& w) const {
    auto result = correct(w);
    in_double(w, result);
    return result;
  }
  WeightFeatures<Float50> operator()(const WeightFeatures<Float50>& w) const {
    auto result = correct(w);
    at_50_digits(w, result);
    return result;
  }
};

std::vector<Bug> attention_bugs() {
  return {
      {"missing transpose in Q K^T",
       {"QK gauge"},
       [](const auto& in, auto& out) {
         for (Index i = 0; i < 2; ++i) {
           out.up.array() += (head(in.query, i, 2).transpose() * head(in.key, i, 2)).sum();
         }
       }},
      {"ReLU on Q", {"QK gauge"}, [](const auto&, auto& out) { out.query = out.query.cwiseMax(0).eval(); }},
      {"ReLU on V", {"VO gauge"}, [](const auto&, auto& out) { out.value = out.value.cwiseMax(0).eval(); }},
      {"ReLU on O", {"VO gauge"}, [](const auto&, auto& out) { out.output = out.output.cwiseMax(0).eval(); }},
      {"wrong head",
       {"head permutation", "QK gauge"},
       [](const auto&, auto& out) { head(out.query, 1, 2) = head(out.query, 0, 2).eval(); }},
      {"bias on O", {"VO gauge"}, [](const auto&, auto& out) { out.output.array() += 1; }},
      {"a constant on Q", {"QK gauge"}, [](const auto&, auto& out) { out.query.array() += 1; }},
      {"a constant on K", {"QK gauge"}, [](const auto&, auto& out) { out.key.array() += 1; }},
      {"a tiny constant on V", {"VO gauge"}, [](const auto&, auto& out) { out.value.array() += 1e-14; }},
      {"an averaged head in Q",
       {"QK gauge"},
       [](const auto&, auto& out) {
         const auto mean = ((head(out.query, 0, 2) + head(out.query, 1, 2)) / 2).eval();
         head(out.query, 0, 2) = head(out.query, 1, 2) = mean;
       }},
      {"an averaged head in O",
       {"VO gauge"},
       [](const auto&, auto& out) {
         const auto mean = ((head(out.output, 0, 2) + head(out.output, 1, 2)) / 2).eval();
         head(out.output, 0, 2) = head(out.output, 1, 2) = mean;
       }},
      {"one head weighs more",
       {"head permutation"},
       [](const auto&, auto& out) { head(out.value, 0, 2) *= 2; }},
      {"Q and K swapped", {"QK gauge"}, [](const auto&, auto& out) { std::swap(out.query, out.key); }},
      {"Q normalised",
       {"QK gauge"},
       [](const auto&, auto& out) { out.query /= 1 + out.query.squaredNorm(); }},
      {"V added to Q", {"QK gauge", "VO gauge"}, [](const auto& in, auto& out) { out.query += in.value; }},
      {"the largest entry of V pooled",
       {"VO gauge"},
       [](const auto& in, auto& out) { out.up_bias.array() += in.value.maxCoeff(); }},
      {"Q K^T of the first head only",
       {"head permutation"},
       [](const auto& in, auto& out) {
         out.down_bias += head(in.query, 0, 2) * head(in.key, 0, 2).transpose().rowwise().sum();
       }},
  };
}

std::vector<Bug> perceptron_bugs() {
  return {
      {"P_D on the wrong axis of V O",
       {"P_D"},
       [](const auto& in, auto& out) { out.down_bias += value_output(in).colwise().sum().transpose(); }},
      {"the trace of V O",
       {"P_D"},
       [](const auto& in, auto& out) { out.up_bias.array() += value_output(in).trace(); }},
      {"rows of A added to B", {"P_D"}, [](const auto& in, auto& out) { out.down += in.up; }},
      {"A transposed", {"P_D", "P_DA"}, [](const auto& in, auto& out) { out.up += in.up.transpose(); }},
      {"positions on model coordinates", {"P_D"}, [](const auto&, auto& out) { out.up.row(1).array() += 1; }},
      {"positions on hidden units", {"P_DA"}, [](const auto&, auto& out) { out.up_bias(2) += 1; }},
      {"a hidden unit dropped", {"P_DA"}, [](const auto&, auto& out) { out.down.col(0).setZero(); }},
      {"running sums along hidden units",
       {"P_DA"},
       [](const auto&, auto& out) {
         for (Index k = 1; k < 3; ++k) out.up.col(k) += out.up.col(k - 1).eval();
       }},
      {"neighbours of hidden units mixed",
       {"P_DA"},
       [](const auto& in, auto& out) { out.down.leftCols(2) += in.down.rightCols(2); }},
  };
}

void expect_caught(const std::vector<Bug>& bugs) {
  for (const Bug& bug : bugs) {
    EXPECT_TRUE(expect_not_equivariant(bug, BlockGroup{shape}, bug.breaks)) << bug.name;
  }
}

TEST(PlantedBugs, InAttentionAreCaughtAndAttributed) { expect_caught(attention_bugs()); }
TEST(PlantedBugs, InThePerceptronAreCaughtAndAttributed) { expect_caught(perceptron_bugs()); }
TEST(PlantedBugs, AreTwentyAndMore) { EXPECT_GE(attention_bugs().size() + perceptron_bugs().size(), 20U); }

TEST(CorrectLayers, RaiseNoAlarmInAThousandRuns) {
  int alarms = 0;
  for (std::uint64_t run = 0; run < 1000; ++run) {
    const Index width = 2 + static_cast<Index>(run % 2);
    const auto coarse = correct_layer<double>(width, run);
    const auto fine = correct_layer<Float50>(width, run);
    const auto layer = [&](const auto& w) {
      if constexpr (std::is_same_v<std::decay_t<decltype(w)>, WeightFeatures<double>>) {
        return coarse(w);
      } else {
        return fine(w);
      }
    };
    const BlockShape drawn{width, 2, 1 + static_cast<Index>(run % 3), 2, 2};
    EquivarianceOptions options;
    options.draws = 3;
    options.seed = run;
    if (!expect_equivariant(layer, BlockGroup{drawn}, options)) ++alarms;
  }
  EXPECT_EQ(alarms, 0);
}

}  // namespace
}  // namespace attnsym::testing
