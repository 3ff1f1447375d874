#include "symmetry/symmetry_group.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/describe_gauges.hpp"
#include "symmetry/distance_buckets.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/random_gauge.hpp"
#include "symmetry/signed_gains.hpp"

namespace attnsym {
namespace {

Permutation drawn_permutation(Random& random, Index size, bool move) {
  return move ? random_permutation(random, size) : Permutation::identity(size);
}

// A random permutation that moves equal items only.
template <class T>
Permutation drawn_among_equals(Random& random, const std::vector<T>& items, bool move) {
  const auto size = static_cast<Index>(items.size());
  std::vector<Index> image = Permutation::identity(size).image();
  std::vector<bool> done(items.size(), false);
  for (Index first = 0; move && first < size; ++first) {
    std::vector<Index> places;
    for (Index i = first; i < size; ++i) {
      if (!done[i] && items[i] == items[first]) places.push_back(i);
    }
    const Permutation order = random_permutation(random, static_cast<Index>(places.size()));
    for (Index i = 0; i < order.size(); ++i) {
      image[places[i]] = places[order(i)];
      done[places[i]] = true;
    }
  }
  return Permutation::from_image(std::move(image));
}

template <Scalar S>
GeneralLinear<S> drawn_gauge(Random& random, Index size, const std::vector<GaugeBlock>& blocks,
                             const SampleOptions& options) {
  if (options.monomial) return random_monomial<S>(random, size, blocks, options.condition);
  if constexpr (RealScalar<S>) {
    return random_gauge<S>(random, size, blocks, options.condition);
  } else {
    throw ShapeError("a random rational gauge must be monomial");
  }
}

template <Scalar S>
bool is_finite(const Affine<S>& gauge) {
  if constexpr (RealScalar<S>) return gauge.linear.matrix().allFinite() && gauge.shift.allFinite();
  return true;
}

template <Scalar S>
bool shifts_only(const Affine<S>& gauge, const std::vector<bool>& free) {
  for (Index k = 0; k < gauge.shift.size(); ++k) {
    if (!free[k] && !(gauge.shift(k) == S(0))) return false;
  }
  return true;
}

template <Scalar S>
bool has_size(const Affine<S>& gauge, Index size) {
  return gauge.linear.size() == size && gauge.shift.size() == size;
}

// QK gauges that norms of queries and keys allow: isometries beside temperatures, else signed permutations
// and stretches, which all groups share if they share gains.
template <Scalar S>
bool keeps_norms(const AttentionElement<S>& element, QkGains gains) {
  const GeneralLinear<S>& first = qk_gauge(element.local.front()).linear;
  return std::all_of(element.local.begin(), element.local.end(), [&](const GroupMove<S>& move) {
    const GeneralLinear<S>& gauge = qk_gauge(move).linear;
    if (gains == QkGains::Temperature) return is_isometry(gauge);
    return signed_gains(gauge) && (gains == QkGains::Own || share_gains(gauge, first));
  });
}

// Random QK gauges of all groups that norms allow.
template <Scalar S>
std::vector<GeneralLinear<S>> drawn_beside_norms(Random& random, const AttentionConfig& config,
                                                 const std::vector<GaugeBlock>& blocks,
                                                 const SampleOptions& options) {
  const auto signed_for = [&](Index groups) {
    return random_signed_gains<S>(random, groups, config.key_width, blocks, options.condition,
                                  options.monomial);
  };
  if (config.qk_norm->gains == QkGains::Shared) return signed_for(config.groups);
  SampleOptions isometric = options;
  isometric.condition = 1;
  std::vector<GeneralLinear<S>> gauges;
  for (Index j = 0; j < config.groups; ++j) {
    gauges.push_back(config.qk_norm->gains == QkGains::Own
                         ? signed_for(1).front()
                         : drawn_gauge<S>(random, config.key_width, blocks, isometric));
  }
  return gauges;
}

// Beside gates a signed and scaled permutation.
template <Scalar S>
GeneralLinear<S> drawn_value_gauge(Random& random, const AttentionConfig& config,
                                   const SampleOptions& options) {
  const std::vector<GaugeBlock> block = {real_block(config.value_width)};
  if (!config.output_gate) return drawn_gauge<S>(random, config.value_width, block, options);
  return random_signed_gains<S>(random, 1, config.value_width, block, options.condition, options.monomial)
      .front();
}

template <Scalar S>
bool keeps_slopes(const AttentionElement<S>& element, const std::vector<double>& slopes) {
  if (slopes.empty()) return true;
  const Permutation image = head_image(element);
  for (Index i = 0; i < image.size(); ++i) {
    if (slopes[i] != slopes[image(i)]) return false;
  }
  return true;
}

// One gain per coordinate, or per pair that is turned.
Index gain_count(const std::vector<GaugeBlock>& blocks) {
  Index count = 0;
  for (const GaugeBlock& block : blocks) count += block.size();
  return count;
}

// Of the isometries of all blocks.
Index isometry_dimension(const std::vector<GaugeBlock>& blocks) {
  Index dimension = 0;
  for (const GaugeBlock& block : blocks)
    dimension += block.is_complex() ? block.size() * block.size() : block.size() * (block.size() - 1) / 2;
  return dimension;
}

// What permutes the coordinates of normalised queries and keys together with their gains.
std::string describe_turns(const std::vector<GaugeBlock>& blocks) {
  const auto largest = std::max_element(blocks.begin(), blocks.end(),
                                        [](const auto& x, const auto& y) { return x.size() < y.size(); });
  std::string text;
  if (largest->size() > 1) text += " and permutations";
  const bool turned =
      std::any_of(blocks.begin(), blocks.end(), [](const GaugeBlock& block) { return block.is_complex(); });
  return text + (turned ? " and quarter turns of pairs" : "");
}

}  // namespace

SymmetryGroup symmetry_of(const AttentionConfig& config) {
  config.validate();
  return SymmetryGroup(config);
}

SymmetryGroup::SymmetryGroup(AttentionConfig config)
    : config_(std::move(config)), blocks_(gauge_blocks(config_)), free_key_bias_(free_key_biases(config_)) {}

template <Scalar S>
AttentionElement<S> SymmetryGroup::sample(Random& random, const SampleOptions& options) const {
  if (!(options.condition >= 1) || !std::isfinite(options.condition)) {
    throw ShapeError("the condition number of a gauge must be finite and at least 1");
  }
  const auto slopes = config_.slopes_by_group();
  std::vector<GeneralLinear<S>> with_norms;
  if (config_.qk_norm && options.qk) with_norms = drawn_beside_norms<S>(random, config_, blocks_, options);
  AttentionElement<S> element{{}, drawn_among_equals(random, slopes, options.heads)};
  for (Index j = 0; j < config_.groups; ++j) {
    GroupMove<S> move = identity_element<S>(config_).local.front();
    move.first = slopes[j].empty() ? drawn_permutation(random, config_.readers_per_group(), options.readers)
                                   : drawn_among_equals(random, slopes[j], options.readers);
    auto& [qk, vo] = move.second;
    if (options.qk)
      qk.linear =
          config_.qk_norm ? with_norms[j] : drawn_gauge<S>(random, config_.key_width, blocks_, options);
    for (Index k = 0; options.bias && k < qk.shift.size(); ++k) {
      if (free_key_bias_[k]) qk.shift(k) = S(options.shift * random.normal());
    }
    if (options.vo) vo.linear = drawn_value_gauge<S>(random, config_, options);
    for (Index k = 0; options.bias && value_bias_is_free(config_) && k < vo.shift.size(); ++k)
      vo.shift(k) = S(options.shift * random.normal());
    element.local.push_back(std::move(move));
  }
  return element;
}

template <Scalar S>
bool SymmetryGroup::contains(const AttentionElement<S>& element) const {
  if (element.top.size() != config_.groups || static_cast<Index>(element.local.size()) != config_.groups)
    return false;
  const std::vector<bool> free_value_bias(config_.value_width, value_bias_is_free(config_));
  for (const GroupMove<S>& move : element.local) {
    const Affine<S>& qk = qk_gauge(move);
    const Affine<S>& vo = vo_gauge(move);
    if (reader_order(move).size() != config_.readers_per_group()) return false;
    if (!has_size(qk, config_.key_width) || !has_size(vo, config_.value_width)) return false;
    if (!is_finite(qk) || !is_finite(vo)) return false;
    if (!shifts_only(qk, free_key_bias_) || !shifts_only(vo, free_value_bias)) return false;
    if (!commutes_with_positions(qk.linear.matrix(), blocks_)) return false;
    if (config_.output_gate && !signed_gains(vo.linear)) return false;
  }
  return keeps_slopes(element, config_.slopes) &&
         (!config_.qk_norm || keeps_norms(element, config_.qk_norm->gains));
}

Index SymmetryGroup::qk_dimension() const {
  if (config_.qk_norm) return gauge_dimension_beside_norms() + scale_count();
  Index per_group = 0;
  for (const GaugeBlock& block : blocks_) per_group += block.dimension();
  return config_.groups * per_group;
}

Index SymmetryGroup::gauge_dimension_beside_norms() const {
  switch (config_.qk_norm->gains) {
    case QkGains::Shared:
      return gain_count(blocks_);
    case QkGains::Own:
      return config_.groups * gain_count(blocks_);
    case QkGains::Temperature:
      return config_.groups * isometry_dimension(blocks_);
  }
  return 0;
}

Index SymmetryGroup::scale_count() const {
  if (!config_.qk_norm || config_.qk_norm->epsilon > 0) return 0;
  return config_.qk_norm->over_all_heads ? 2 : config_.heads + config_.groups;
}

Index SymmetryGroup::dimension() const {
  const Index g = config_.groups;
  Index per_group = config_.output_gate ? config_.value_width : config_.value_width * config_.value_width;
  per_group += std::count(free_key_bias_.begin(), free_key_bias_.end(), true);
  const Index values = config_.value_bias && !config_.value_bias_counts() ? g * config_.value_width : 0;
  const Index value_shift = config_.output_bias ? values : std::max(Index{0}, values - config_.model_width);
  // Columns 1 u^T of Q, K, V and gates.
  const Index gates = config_.output_gate ? config_.heads * config_.value_width : 0;
  const Index unseen =
      config_.heads * config_.key_width + g * (config_.key_width + config_.value_width) + gates;
  return qk_dimension() + g * per_group + value_shift + config_.heads * free_table_dimension(config_) +
         (config_.centred_inputs ? unseen : 0);
}

std::string SymmetryGroup::describe() const {
  const std::string r = std::to_string(config_.readers_per_group());
  const std::string g = std::to_string(config_.groups);
  const bool grouped = config_.readers_per_group() > 1;
  std::string text = grouped ? "S_" + r + " wr S_" + g : "S_" + g;
  if (!config_.slopes.empty()) text += " among heads of equal slope";
  const std::string per = std::string("; per ") + (grouped ? "group " : "head ");
  const std::string dv = std::to_string(config_.value_width);
  const std::string vo =
      config_.output_gate ? "(R^x)^" + dv + " : S_" + dv + " on V-O and gates" : "GL(" + dv + ") on V-O";
  const bool temperatures = config_.qk_norm && config_.qk_norm->gains == QkGains::Temperature;
  const bool gains = config_.qk_norm && !temperatures;
  text += per + (gains ? "signs" : describe_gauges(blocks_, temperatures)) + " on Q-K and " + vo;
  if (gains) {
    text += (config_.qk_norm->gains == QkGains::Shared ? "; of all heads together" : per + "also") +
            std::string(" (R>0)^") + std::to_string(gain_count(blocks_)) + " on the gains" +
            describe_turns(blocks_);
  }
  if (scale_count() > 0)
    text += config_.qk_norm->over_all_heads ? "; a scale of all queries and one of all keys"
                                            : "; a scale per query head and key head";
  const Index free = std::count(free_key_bias_.begin(), free_key_bias_.end(), true);
  if (free == config_.key_width) {
    text += "; the key bias is free";
  } else if (free > 0) {
    text += "; " + std::to_string(free) + " of " + std::to_string(config_.key_width) + " key biases are free";
  }
  if (config_.value_bias && !config_.value_bias_counts()) {
    text += config_.output_bias ? "; the value bias moves into the output bias"
                                : "; the value bias moves in the kernel of the stacked outputs";
  }
  if (table_shift_is_free(config_)) text += "; a shift of every head's table";
  const Index unread = free_table_dimension(config_) - (table_shift_is_free(config_) ? 1 : 0);
  if (unread > 0) text += "; " + std::to_string(unread) + " numbers of every table are never read";
  if (config_.centred_inputs)
    text += "; any number on a whole column of Q, K" +
            std::string(config_.output_gate ? ", V and gates" : " and V");
  return text;
}

template AttentionElement<float> SymmetryGroup::sample(Random&, const SampleOptions&) const;
template AttentionElement<double> SymmetryGroup::sample(Random&, const SampleOptions&) const;
template AttentionElement<Float50> SymmetryGroup::sample(Random&, const SampleOptions&) const;
template AttentionElement<Rational> SymmetryGroup::sample(Random&, const SampleOptions&) const;

template bool SymmetryGroup::contains(const AttentionElement<float>&) const;
template bool SymmetryGroup::contains(const AttentionElement<double>&) const;
template bool SymmetryGroup::contains(const AttentionElement<Float50>&) const;
template bool SymmetryGroup::contains(const AttentionElement<Rational>&) const;

}  // namespace attnsym
