#include "checkpoint/rotary_config.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "checkpoint/printable.hpp"

namespace attnsym {
namespace {

constexpr double pi = std::numbers::pi;

using Frequencies = std::vector<double>;

Frequencies plain_frequencies(Index pairs, double base) {
  Frequencies result;
  for (Index p = 0; p < pairs; ++p)
    result.push_back(std::pow(base, -static_cast<double>(p) / static_cast<double>(pairs)));
  return result;
}

double required(const JsonObject& parameters, std::string_view key) {
  if (const auto value = parameters.number(key)) return *value;
  parameters.fail(in_quotes(key) + " is missing, expected a number that scales rotary positions");
}

double positive(const JsonObject& parameters, std::string_view key, double value) {
  if (!(value > 0)) parameters.refuse(key, "a positive number");
  return value;
}

double trained_length(const JsonObject& config, const JsonObject& parameters) {
  for (const auto& [object, key] : {std::pair{&parameters, "original_max_position_embeddings"},
                                    {&config, "original_max_position_embeddings"},
                                    {&config, "max_position_embeddings"}}) {
    if (const auto value = object->number(key)) return positive(*object, key, *value);
  }
  config.fail("'max_position_embeddings' is missing, expected a number that scales rotary positions");
}

// Low frequencies are divided by the factor, high ones kept, those between interpolated.
void scale_llama3(Frequencies& frequencies, const JsonObject& config, const JsonObject& parameters) {
  const double factor = positive(parameters, "factor", required(parameters, "factor"));
  const double low = required(parameters, "low_freq_factor");
  const double high = required(parameters, "high_freq_factor");
  if (!(low > 0) || !(high > low))
    parameters.refuse("high_freq_factor", "a number above a positive low_freq_factor");
  const double length = trained_length(config, parameters);
  for (double& frequency : frequencies) {
    const double wavelength = 2 * pi / frequency;
    const double smooth = std::clamp((length / wavelength - low) / (high - low), 0.0, 1.0);
    frequency = (1 - smooth) * frequency / factor + smooth * frequency;
  }
}

double mscale(double factor, double weight) { return factor <= 1 ? 1 : 0.1 * weight * std::log(factor) + 1; }

// What cosines and sines of YaRN are multiplied by.
double yarn_attention_factor(const JsonObject& parameters, double factor) {
  if (const auto given = parameters.number("attention_factor")) return *given;
  const auto weight = parameters.number("mscale");
  const auto all = parameters.number("mscale_all_dim");
  if (weight && all && *weight != 0 && *all != 0) return mscale(factor, *weight) / mscale(factor, *all);
  return mscale(factor, 1);
}

void scale_yarn(Frequencies& frequencies, const JsonObject& config, const JsonObject& parameters, double base,
                double factor) {
  const double width = 2 * static_cast<double>(frequencies.size());
  const double length = trained_length(config, parameters);
  // The coordinate whose pair makes this many rotations over the trained length.
  const auto coordinate = [&](double rotations) {
    return width * std::log(length / (rotations * 2 * pi)) / (2 * std::log(base));
  };
  double low = coordinate(parameters.number("beta_fast").value_or(32));
  double high = coordinate(parameters.number("beta_slow").value_or(1));
  if (parameters.flag("truncate").value_or(true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, width - 1);
  if (low == high) high += 0.001;
  for (std::size_t p = 0; p < frequencies.size(); ++p) {
    const double ramp = std::clamp((static_cast<double>(p) - low) / (high - low), 0.0, 1.0);
    frequencies[p] = frequencies[p] / factor * ramp + frequencies[p] * (1 - ramp);
  }
}

double scale_longrope(Frequencies& frequencies, const JsonObject& config, const JsonObject& parameters) {
  const auto short_factors = parameters.numbers("short_factor");
  if (!short_factors || short_factors->size() != frequencies.size())
    parameters.refuse("short_factor", "a list of " + std::to_string(frequencies.size()) + " numbers");
  for (std::size_t p = 0; p < frequencies.size(); ++p)
    frequencies[p] /= positive(parameters, "short_factor", (*short_factors)[p]);
  if (const auto given = parameters.number("attention_factor")) return *given;
  const double length = trained_length(config, parameters);
  const double factor = parameters.number("factor").value_or(
      config.number("max_position_embeddings").value_or(length) / length);
  return factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(length));
}

// rope_parameters of new files, or rope_scaling of older ones; empty where there is neither.
JsonObject rope_parameters(const JsonObject& config, std::string_view section, bool scaled) {
  if (const auto parameters = config.object("rope_parameters")) {
    const auto inner = section.empty() ? std::nullopt : parameters->object(section);
    return inner ? *inner : *parameters;
  }
  const auto scaling = scaled ? config.object("rope_scaling") : std::nullopt;
  return scaling ? *scaling : JsonObject::parse("{}", "rope_scaling");
}

// @returns what cosines and sines are multiplied by
double scale_frequencies(Frequencies& frequencies, const JsonObject& config, const JsonObject& parameters,
                         double base) {
  const std::string type = parameters.text("rope_type").value_or(parameters.text("type").value_or("default"));
  if (type == "default" || type == "dynamic") return 1;
  if (type == "longrope" || type == "su") return scale_longrope(frequencies, config, parameters);
  if (type != "linear" && type != "llama3" && type != "yarn") {
    parameters.refuse(parameters.has("rope_type") ? "rope_type" : "type",
                      "one of: default, linear, dynamic, llama3, yarn, longrope");
  }
  const double factor = positive(parameters, "factor", required(parameters, "factor"));
  if (type == "llama3") {
    scale_llama3(frequencies, config, parameters);
  } else if (type == "yarn") {
    scale_yarn(frequencies, config, parameters, base, factor);
    return yarn_attention_factor(parameters, factor);
  } else {
    for (double& frequency : frequencies) frequency /= factor;
  }
  return 1;
}

}  // namespace

std::optional<double> number_of(const JsonObject& config, const ConfigValue& value) {
  for (const std::string& key : value.keys) {
    if (const auto number = config.number(key)) return number;
  }
  return value.fixed;
}

Rotary rotary_positions(const JsonObject& config, const PositionKeys& positions,
                        const ConfigValue& base_value, Index head_dim, std::string_view section,
                        bool scaled) {
  const JsonObject parameters = rope_parameters(config, section, scaled);
  const auto base_given = parameters.number("rope_theta");
  const double base = base_given ? *base_given : number_of(config, base_value).value_or(10000);
  if (!(base > 0)) config.fail("the base of rotary positions is not positive");
  const auto share_given = parameters.number("partial_rotary_factor");
  const double share = share_given ? *share_given : number_of(config, positions.fraction).value_or(1);
  if (!(share > 0) || share > 1)
    config.fail("the share of coordinates that turn with positions is not in (0, 1]");
  const auto width = static_cast<Index>(static_cast<double>(head_dim) * share);
  if (width % 2 != 0)
    config.fail("rotary positions turn " + std::to_string(width) +
                " coordinates of a head, expected an even number");

  Frequencies frequencies = plain_frequencies(width / 2, base);
  const double gain = scale_frequencies(frequencies, config, parameters, base);
  if (!(gain > 0)) config.fail("the attention factor of rotary positions is not positive");
  return {std::move(frequencies), PairLayout::HalfSplit, gain};
}

std::vector<double> alibi_slopes(Index heads) {
  Index power = 1;
  while (2 * power <= heads) power *= 2;
  std::vector<double> slopes;
  for (Index i = 1; i <= power; ++i)
    slopes.push_back(std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(power)));
  for (Index i = 1; static_cast<Index>(slopes.size()) < heads; i += 2)
    slopes.push_back(std::exp2(-4.0 * static_cast<double>(i) / static_cast<double>(power)));
  return slopes;
}

}  // namespace attnsym
