#include "symmetry/attention_config.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

void require_finite(const std::vector<double>& numbers, const char* what) {
  for (const double number : numbers) {
    if (!std::isfinite(number)) throw ShapeError(std::string("attention config: ") + what + " is not finite");
  }
}

Index gain_count(const AttentionConfig& config) {
  if (!config.qk_norm) return 0;
  switch (config.qk_norm->gains) {
    case QkGains::Shared:
      return 2 * config.key_width;
    case QkGains::Own:
      return (config.heads + config.groups) * config.key_width;
    case QkGains::Temperature:
      return config.heads;
  }
  return 0;
}

bool has_still_pair(const std::vector<double>& frequencies) {
  return std::any_of(frequencies.begin(), frequencies.end(),
                     [](double frequency) { return std::remainder(frequency, 2 * std::numbers::pi) == 0; });
}

void require_beyond(const Rotary& rotary) {
  if (!rotary.beyond) return;
  if (rotary.beyond->length < 1 || rotary.beyond->frequencies.size() != rotary.frequencies.size())
    throw ShapeError(
        "attention config: rotary positions beyond a length need that length, and every pair its frequency");
  require_finite(rotary.beyond->frequencies, "a rotary frequency beyond the length");
  if (!(rotary.beyond->growth >= 0) || (rotary.beyond->growth > 0 && rotary.pairs() < 2))
    throw ShapeError("attention config: rotary frequencies that fall need two pairs and a positive growth");
}

void require_buckets(const std::vector<Index>& buckets) {
  if (!buckets.empty() && buckets.size() % 2 == 0)
    throw ShapeError("attention config: " + std::to_string(buckets.size()) +
                     " distance buckets; offsets from -reach to reach are an odd number");
  if (std::any_of(buckets.begin(), buckets.end(), [](Index bucket) { return bucket < 0; }))
    throw ShapeError("attention config: a distance bucket is negative");
}

}  // namespace

Index AttentionConfig::bucket_count() const {
  const auto largest = std::max_element(distance_buckets.begin(), distance_buckets.end());
  return largest == distance_buckets.end() ? 0 : *largest + 1;
}

Index AttentionConfig::bucket(Index offset) const {
  const auto reach = static_cast<Index>(distance_buckets.size() / 2);
  return distance_buckets[std::clamp(offset, -reach, reach) + reach];
}

bool AttentionConfig::shows(Index offset) const {
  return !(causal && offset > 0) && (window == 0 || std::abs(offset) < window);
}

std::vector<std::vector<double>> AttentionConfig::slopes_by_group() const {
  std::vector<std::vector<double>> result(static_cast<std::size_t>(groups));
  for (std::size_t i = 0; i < slopes.size(); ++i)
    result[i / static_cast<std::size_t>(readers_per_group())].push_back(slopes[i]);
  return result;
}

Index AttentionConfig::parameter_count() const {
  const Index weights =
      model_width * (heads * (key_width + value_width) + groups * (key_width + value_width));
  const Index biases = (query_bias ? heads * key_width : 0) + (key_bias ? groups * key_width : 0) +
                       (value_bias ? groups * value_width : 0) + (output_bias ? model_width : 0) +
                       (sinks ? heads : 0) + gain_count(*this) + heads * bucket_count() +
                       (output_gate ? heads * value_width * (model_width + (gate_bias ? 1 : 0)) : 0);
  return weights + biases;
}

void AttentionConfig::validate() const {
  for (const Index size : {model_width, heads, groups, key_width, value_width}) {
    if (size <= 0)
      throw ShapeError("attention config: every width and count must be positive, found " +
                       std::to_string(size));
  }
  if (heads % groups != 0) {
    throw ShapeError("attention config: " + std::to_string(heads) + " heads do not divide into " +
                     std::to_string(groups) + " groups");
  }
  if (!std::isfinite(scale) || scale == 0)
    throw ShapeError("attention config: the scale must be finite and not zero");
  if (2 * rotary.pairs() > key_width) {
    throw ShapeError("attention config: " + std::to_string(rotary.pairs()) +
                     " rotary pairs do not fit into the key width " + std::to_string(key_width));
  }
  if (!slopes.empty() && static_cast<Index>(slopes.size()) != heads) {
    throw ShapeError("attention config: " + std::to_string(slopes.size()) + " slopes for " +
                     std::to_string(heads) + " heads");
  }
  require_finite(rotary.frequencies, "a rotary frequency");
  require_beyond(rotary);
  require_finite(slopes, "a slope");
  const bool still =
      has_still_pair(rotary.frequencies) || (rotary.beyond && has_still_pair(rotary.beyond->frequencies));
  if (!(rotary.gain > 0) || !std::isfinite(rotary.gain) || (rotary.gain != 1 && still))
    throw ShapeError(
        "attention config: the gain of rotary positions must be positive, and 1 beside a frequency 0");
  require_buckets(distance_buckets);
  if (gate_bias && !output_gate) throw ShapeError("attention config: a bias of gates without gates");
  if (window < 0) throw ShapeError("attention config: the window must not be negative");
  if (qk_norm && !(qk_norm->epsilon >= 0 && std::isfinite(qk_norm->epsilon)))
    throw ShapeError("attention config: the epsilon of norms must be finite and not negative");
  if (!std::isfinite(softcap) || softcap < 0)
    throw ShapeError("attention config: the softcap must be finite and not negative");
}

}  // namespace attnsym
