#include "verify/tiny_config.hpp"

#include <algorithm>
#include <map>
#include <vector>

#include "symmetry/gauge_blocks.hpp"

namespace attnsym {
namespace {

constexpr Index least_width = 6;
constexpr Index most_unturned = 2;
constexpr Index most_reach = 4;

// Kept for a block: up to `most` of its pairs, turning forwards and backwards as there.
void keep_pairs(const GaugeBlock& block, Index most, std::vector<double>& frequencies) {
  for (Index k = 0; k < std::min(block.size(), most); ++k)
    frequencies.push_back(block.frequency * block.orientation[k]);
}

// Of complex blocks, fastest first: one of several pairs if there is one, and then enough single pairs to see
// that blocks do not mix. The second from a quarter down the list: the slowest hardly turn in five tokens.
std::vector<double> complex_frequencies(const std::vector<GaugeBlock>& blocks) {
  const std::vector<GaugeBlock> fastest_first(blocks.rbegin(), blocks.rend());
  std::vector<GaugeBlock> single;
  std::vector<double> frequencies;
  for (const GaugeBlock& block : fastest_first) {
    if (!block.is_complex()) continue;
    if (block.size() == 1) single.push_back(block);
    if (block.size() > 1 && frequencies.empty()) keep_pairs(block, 2, frequencies);
  }
  const bool one_is_enough = !frequencies.empty() || single.size() == 1;
  if (!single.empty()) keep_pairs(single.front(), 1, frequencies);
  if (!single.empty() && !one_is_enough)
    keep_pairs(single[std::max<std::size_t>(1, single.size() / 4)], 1, frequencies);
  return frequencies;
}

// A pair turned by pi, and one not turned at all, if there are such.
std::vector<double> real_frequencies(const AttentionConfig& config, const std::vector<GaugeBlock>& blocks) {
  std::vector<double> frequencies;
  for (const GaugeBlock& block : blocks) {
    const bool has_pairs = block.real.front() < 2 * config.rotary.pairs();
    if (!block.is_complex() && has_pairs) frequencies.push_back(block.frequency);
  }
  return frequencies;
}

void shrink_keys(AttentionConfig& tiny, const AttentionConfig& config) {
  if (config.rotary.pairs() == 0) {
    tiny.key_width = std::min<Index>(config.key_width, 4);
    return;
  }
  const std::vector<GaugeBlock> blocks = gauge_blocks(config);
  tiny.rotary.frequencies = complex_frequencies(blocks);
  tiny.rotary.beyond.reset();  // its sequences are short
  for (const double frequency : real_frequencies(config, blocks))
    tiny.rotary.frequencies.push_back(frequency);
  const Index unturned = std::min(config.key_width - 2 * config.rotary.pairs(), most_unturned);
  tiny.key_width = 2 * tiny.rotary.pairs() + unturned;
}

void shrink_heads(AttentionConfig& tiny, const AttentionConfig& config) {
  const Index readers = std::min<Index>(config.readers_per_group(), 2);
  tiny.groups = std::min<Index>(config.groups, 2);
  tiny.heads = tiny.groups * readers;
  if (config.slopes.empty()) return;
  tiny.slopes.clear();
  for (Index j = 0; j < tiny.groups; ++j) {
    const auto first = config.slopes.begin() + j * config.readers_per_group();
    tiny.slopes.insert(tiny.slopes.end(), first, first + readers);
  }
}

// The nearest offsets, whose buckets get numbers in the order in which they occur.
void shrink_table(AttentionConfig& tiny, const AttentionConfig& config) {
  const Index reach = std::min(static_cast<Index>(config.distance_buckets.size() / 2), most_reach);
  tiny.distance_buckets.clear();
  std::map<Index, Index> numbers;
  for (Index offset = -reach; offset <= reach; ++offset) {
    const auto next = static_cast<Index>(numbers.size());
    tiny.distance_buckets.push_back(numbers.try_emplace(config.bucket(offset), next).first->second);
  }
}

}  // namespace

AttentionConfig tiny_config_like(const AttentionConfig& config) {
  config.validate();
  AttentionConfig tiny = config;
  shrink_heads(tiny, config);
  shrink_keys(tiny, config);
  if (!config.distance_buckets.empty()) shrink_table(tiny, config);
  const bool spans = config.qk_norm && config.qk_norm->over_all_heads;
  tiny.model_width = std::max(least_width, (spans ? tiny.heads : 1) * tiny.key_width);
  const bool outputs_overlap = config.groups > 1 && config.groups * config.value_width > config.model_width;
  tiny.value_width = outputs_overlap ? tiny.model_width / 2 + 1 : std::min<Index>(config.value_width, 3);
  tiny.window = std::min<Index>(config.window, 3);
  tiny.softcap = std::min(config.softcap, 3.0);
  if (config.qk_norm && config.qk_norm->epsilon > 0) tiny.qk_norm->epsilon = 0.1;
  return tiny;
}

}  // namespace attnsym
