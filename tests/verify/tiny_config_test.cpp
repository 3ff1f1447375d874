// A tiny module in place of a large one: what decides the group is the same.
#include "verify/tiny_config.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <set>
#include <tuple>

#include "symmetry/distance_buckets.hpp"
#include "symmetry/gauge_blocks.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tests/support/attention_kinds.hpp"
#include "verify/measured_dimension.hpp"

namespace attnsym {
namespace {

using testing::attention_kinds;
using testing::AttentionKind;
using testing::with_biases;
using testing::with_rotary;
using testing::with_slopes;

std::vector<double> geometric(Index pairs) {
  std::vector<double> frequencies;
  for (Index p = 0; p < pairs; ++p)
    frequencies.push_back(std::pow(1e4, -static_cast<double>(p) / static_cast<double>(pairs)));
  return frequencies;
}

AttentionConfig wide(Index heads, Index groups, Index width = 128) {
  AttentionConfig config{4096, heads, groups, width, width};
  config.scale = 1 / std::sqrt(static_cast<double>(width));
  config.causal = true;
  return config;
}

AttentionConfig without_query_and_output_bias(AttentionConfig config) {
  config.query_bias = config.output_bias = false;
  return config;
}

AttentionConfig with_softcap_and_window(AttentionConfig config) {
  config.softcap = 50;
  config.window = 4096;
  return config;
}

AttentionConfig with_buckets(AttentionConfig config, bool bidirectional) {
  config.causal = !bidirectional;
  config.distance_buckets = t5_buckets(32, 128, bidirectional);
  return config;
}

std::vector<double> with(std::vector<double> frequencies, std::initializer_list<double> more) {
  frequencies.insert(frequencies.end(), more);
  return frequencies;
}

// Modules as models have them, and rare ones.
std::vector<AttentionKind> wide_kinds() {
  const AttentionConfig overlapping{64, 16, 16, 8, 8};
  return {
      {"GPT-2", with_biases(wide(12, 12, 64)), 64},
      {"Llama", with_rotary(wide(32, 32), geometric(64)), 26},
      {"Gemma 2", with_softcap_and_window(with_rotary(wide(32, 8), geometric(64))), 26},
      {"Qwen2", with_biases(with_rotary(wide(28, 4), geometric(64)), false), 26},
      {"Pythia", with_biases(with_rotary(wide(32, 32), geometric(16))), 44},
      {"Bloom", with_biases(with_slopes(wide(16, 16))), 64},
      {"T5 encoder", with_buckets(wide(16, 16), true), 52},
      {"T5 decoder", with_buckets(wide(16, 16), false), 52},
      {"centred inputs", testing::with_centred_inputs(wide(16, 16)), 72},
      {"MQA", wide(16, 1), 25},
      {"sinks", testing::with_sinks(with_biases(wide(16, 4))), 50},
      {"one wide head", wide(1, 1), 25},
      {"outputs that overlap", without_query_and_output_bias(with_biases(overlapping)), 74},
      {"a repeated frequency", with_rotary(wide(1, 1), with(geometric(48), {0.7, -0.7})), 23},
      {"frequencies 0 and pi", with_rotary(wide(1, 1, 102), with(geometric(48), {0, 0, std::numbers::pi})),
       21},
  };
}

std::set<std::tuple<bool, bool, bool>> block_kinds(const AttentionConfig& config) {
  std::set<std::tuple<bool, bool, bool>> kinds;
  for (const GaugeBlock& block : gauge_blocks(config))
    kinds.insert({block.is_complex(), block.size() > 1, block.frequency == 0});
  return kinds;
}

class TinyConfig : public ::testing::TestWithParam<AttentionKind> {};

TEST_P(TinyConfig, IsOfTheSameKind) {
  const AttentionConfig& config = GetParam().config;
  const AttentionConfig tiny = tiny_config_like(config);
  EXPECT_TRUE(tiny.query_bias == config.query_bias && tiny.key_bias == config.key_bias &&
              tiny.value_bias == config.value_bias && tiny.output_bias == config.output_bias);
  EXPECT_TRUE(tiny.causal == config.causal && tiny.sinks == config.sinks && tiny.scale == config.scale);
  EXPECT_TRUE((tiny.window > 0) == (config.window > 0) && (tiny.softcap > 0) == (config.softcap > 0));
  EXPECT_EQ(tiny.slopes.empty(), config.slopes.empty());
  EXPECT_EQ(tiny.distance_buckets.empty(), config.distance_buckets.empty());
  EXPECT_EQ(tiny.groups > 1, config.groups > 1);
  EXPECT_EQ(tiny.readers_per_group() > 1, config.readers_per_group() > 1);
  EXPECT_EQ(block_kinds(tiny), block_kinds(config));
  EXPECT_LE(tiny.key_width, tiny.model_width);
  EXPECT_LT(tiny.value_width, tiny.model_width);
}

TEST_P(TinyConfig, HasAGroupThatIsMeasured) {
  const AttentionConfig tiny = tiny_config_like(GetParam().config);
  EXPECT_EQ(symmetry_of(tiny).dimension(), GetParam().dimension);
  EXPECT_EQ(measure_dimension(tiny).dimension, GetParam().dimension);
}

INSTANTIATE_TEST_SUITE_P(Models, TinyConfig, ::testing::ValuesIn(wide_kinds()));

TEST(TinyConfigTwin, TinyModulesStayAsTheyAre) {
  for (const AttentionKind& kind : attention_kinds()) {
    if (kind.config.heads > 2 && kind.config.groups == kind.config.heads) continue;  // 3 heads become 2
    EXPECT_EQ(symmetry_of(tiny_config_like(kind.config)).dimension(), kind.dimension) << kind.name;
  }
}

}  // namespace
}  // namespace attnsym
