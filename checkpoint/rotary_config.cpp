#include "checkpoint/rotary_config.hpp"

#include <algorithm>
#include <array>
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

// A rule of rotary positions and what it says: rope_parameters, or rope_scaling of older files.
struct Rule {
  JsonObject parameters;
  std::string section;  // of rope_parameters, or empty
  std::string type;
};

// What is at the top level counts first, but not where parameters are by layer type.
double trained_length(const JsonObject& config, const Rule& rule) {
  constexpr const char* original = "original_max_position_embeddings";
  if (const auto value = config.number(original); value && rule.section.empty())
    return positive(config, original, *value);
  if (const auto value = rule.parameters.number(original)) return positive(rule.parameters, original, *value);
  if (const auto value = config.number("max_position_embeddings"))
    return positive(config, "max_position_embeddings", *value);
  config.fail("'max_position_embeddings' is missing, expected a number that scales rotary positions");
}

// Low frequencies are divided by the factor, high ones kept, those between interpolated.
void scale_llama3(Frequencies& frequencies, const JsonObject& config, const Rule& rule, double factor) {
  const JsonObject& parameters = rule.parameters;
  const double low = required(parameters, "low_freq_factor");
  const double high = required(parameters, "high_freq_factor");
  if (!(low > 0) || !(high > low))
    parameters.refuse("high_freq_factor", "a number above a positive low_freq_factor");
  const double length = trained_length(config, rule);
  if (factor == 1) return;
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

// A number that stands for another where it is 0 or absent.
double number_or(const JsonObject& parameters, std::string_view key, double otherwise) {
  const double value = parameters.number(key).value_or(0);
  return value != 0 ? value : otherwise;
}

void scale_yarn(Frequencies& frequencies, const JsonObject& config, const Rule& rule, double base,
                double factor) {
  const JsonObject& parameters = rule.parameters;
  const double width = 2 * static_cast<double>(frequencies.size());
  const double length = trained_length(config, rule);
  if (factor == 1) return;
  // The coordinate whose pair makes this many rotations over the trained length.
  const auto coordinate = [&](double rotations) {
    return width * std::log(length / (rotations * 2 * pi)) / (2 * std::log(base));
  };
  double low = coordinate(number_or(parameters, "beta_fast", 32));
  double high = coordinate(number_or(parameters, "beta_slow", 1));
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

Frequencies divided(const Frequencies& frequencies, const JsonObject& parameters, std::string_view key) {
  const auto factors = parameters.numbers(key);
  if (!factors || factors->size() != frequencies.size())
    parameters.refuse(key, "a list of " + std::to_string(frequencies.size()) + " numbers");
  Frequencies result = frequencies;
  for (std::size_t p = 0; p < result.size(); ++p) result[p] /= positive(parameters, key, (*factors)[p]);
  return result;
}

Index whole(const JsonObject& config, double length) {
  if (length != std::floor(length) || length > 0x1p31)
    config.fail("rotary positions are trained on " + std::to_string(length) +
                " positions, expected a whole number");
  return static_cast<Index>(length);
}

void scale_longrope(Rotary& rotary, const JsonObject& config, const Rule& rule) {
  const JsonObject& parameters = rule.parameters;
  const double length = trained_length(config, rule);
  const Frequencies beyond = divided(rotary.frequencies, parameters, "long_factor");
  rotary.frequencies = divided(rotary.frequencies, parameters, "short_factor");
  if (beyond != rotary.frequencies) rotary.beyond = {whole(config, length), beyond, 0};
  const double factor = parameters.number("factor").value_or(
      config.number("max_position_embeddings").value_or(length) / length);
  rotary.gain = factor <= 1 ? 1 : std::sqrt(1 + std::log(factor) / std::log(length));
  if (const auto given = parameters.number("attention_factor")) rotary.gain = *given;
}

// The base grows with the sequence once that is longer than the model's positions [N5].
void scale_dynamic(Rotary& rotary, const JsonObject& config, double base, double factor) {
  const auto length = config.number("max_position_embeddings");
  if (!length)
    config.fail("'max_position_embeddings' is missing, expected a number that scales rotary positions");
  if (rotary.pairs() < 2 || !(base > 1))
    config.fail("'rope_type' is dynamic, which needs two pairs of rotary coordinates and a base above 1");
  rotary.beyond = {whole(config, positive(config, "max_position_embeddings", *length)), rotary.frequencies,
                   factor};
  rotary.beyond->frequencies = rotary.at(2 * rotary.beyond->length);
}

void require_known_parameters(const JsonObject& parameters) {
  constexpr std::array<std::string_view, 17> known{"rope_type",        "type",
                                                   "rope_theta",       "partial_rotary_factor",
                                                   "factor",           "original_max_position_embeddings",
                                                   "attention_factor", "beta_fast",
                                                   "beta_slow",        "mscale",
                                                   "mscale_all_dim",   "truncate",
                                                   "low_freq_factor",  "high_freq_factor",
                                                   "short_factor",     "long_factor",
                                                   "finetuned"};  // says how, not what
  for (const std::string& key : parameters.keys()) {
    if (parameters.has(key) && std::ranges::find(known, key) == known.end())
      parameters.fail(in_quotes(key) + " among the parameters of rotary positions is not known");
  }
}

// rope_scaling wins over rope_parameters where both say something. Where parameters are by layer type, it is
// for the layers without a window.
JsonObject rope_parameters(const JsonObject& config, std::string_view section, bool scaled) {
  const JsonObject none = JsonObject::parse("{}", "rope_parameters");
  const bool has_scaling = !config.is_empty("rope_scaling");
  if (section.empty()) {
    if (has_scaling) return *config.object("rope_scaling");
    return config.object("rope_parameters").value_or(none);
  }
  if (has_scaling && !config.is_empty("rope_parameters"))
    config.fail("there are 'rope_scaling' and 'rope_parameters', which is not understood by layer type");
  if (has_scaling) return scaled ? *config.object("rope_scaling") : none;
  const auto parameters = config.object("rope_parameters");
  return parameters ? parameters->object(section).value_or(none) : none;
}

// The type that the family takes the rule's for.
std::string type_of(const JsonObject& parameters, const PositionKeys& positions, bool by_layer) {
  const bool is_named = parameters.has("rope_type");
  if (by_layer && !is_named && parameters.has("type"))
    parameters.fail("'type' is not read where rotary positions are by layer type, expected 'rope_type'");
  const std::string key = is_named ? "rope_type" : "type";
  const std::string type = parameters.text(key).value_or("default");
  constexpr std::array<std::string_view, 6> all{"default", "linear", "dynamic", "llama3", "yarn", "longrope"};
  std::vector<std::string> known(all.begin(), all.end());
  if (!positions.types.empty()) known.clear();
  for (const auto& [name, meaning] : positions.types) known.push_back(name);
  if (std::ranges::find(known, type) == known.end()) parameters.refuse(key, "one of: " + joined(known, ", "));
  return positions.types.empty() ? type : positions.types.at(type);
}

void scale(Rotary& rotary, const JsonObject& config, const Rule& rule, double base) {
  if (rule.type == "default") return;
  if (rule.type == "longrope") return scale_longrope(rotary, config, rule);
  const double factor = positive(rule.parameters, "factor", required(rule.parameters, "factor"));
  if (rule.type == "dynamic") return scale_dynamic(rotary, config, base, factor);
  if (rule.type == "llama3") return scale_llama3(rotary.frequencies, config, rule, factor);
  if (rule.type == "yarn") {
    scale_yarn(rotary.frequencies, config, rule, base, factor);
    rotary.gain = yarn_attention_factor(rule.parameters, factor);
  } else {
    for (double& frequency : rotary.frequencies) frequency /= factor;
  }
}

// The share of a head's coordinates that turns; families that do not know of one turn them all.
double turned_share(const JsonObject& config, const JsonObject& parameters, const PositionKeys& positions) {
  constexpr const char* key = "partial_rotary_factor";
  const auto given = parameters.number(key);
  if (positions.fraction.keys.empty() && !positions.fraction.fixed) {
    for (const auto& share : {given, config.number(key)}) {
      if (share && *share != 1)
        config.fail(in_quotes(key) + " is not 1, but models of this type turn all coordinates of a head");
    }
    return 1;
  }
  return given ? *given : number_of(config, positions.fraction).value_or(1);
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
  require_known_parameters(parameters);
  const auto base_given = parameters.number("rope_theta");
  const double base = base_given ? *base_given : number_of(config, base_value).value_or(10000);
  if (!(base > 0)) config.fail("the base of rotary positions is not positive");
  const double share = turned_share(config, parameters, positions);
  if (!(share > 0) || share > 1)
    config.fail("'partial_rotary_factor', the share of coordinates that turn, is not in (0, 1]");
  const auto width = static_cast<Index>(static_cast<double>(head_dim) * share);
  if (width % 2 != 0)
    config.fail("'partial_rotary_factor' and the width of a head make rotary positions turn " +
                std::to_string(width) + " coordinates, expected an even number");

  const bool by_layer = !section.empty();
  Rotary rotary{.frequencies = plain_frequencies(width / 2, base)};
  scale(rotary, config, {parameters, std::string(section), type_of(parameters, positions, by_layer)}, base);
  if (!(rotary.gain > 0)) config.fail("the attention factor of rotary positions is not positive");
  return rotary;
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
