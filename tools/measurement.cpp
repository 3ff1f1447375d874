#include "tools/measurement.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "symmetry/symmetry_group.hpp"
#include "verify/tiny_config.hpp"

namespace attnsym {
namespace {

// A power of ten is all that is said by a singular value here.
std::string rough(double value) {
  char text[16];
  std::snprintf(text, sizeof text, "%.0e", value);
  return text;
}

std::string shape_text(const AttentionConfig& config) {
  const auto number = [](Index value) { return std::to_string(value); };
  std::string text = "D " + number(config.model_width) + ", " + number(config.heads) + " heads";
  if (config.groups != config.heads) text += " in " + number(config.groups) + " groups";
  return text + ", key width " + number(config.key_width) + ", value width " + number(config.value_width);
}

}  // namespace

std::string Measurement::text() const {
  return std::to_string(measured.dimension) + " dimensions of a tiny module of this kind (" +
         shape_text(tiny) + "), predicted " + std::to_string(predicted) + "; singular values " +
         rough(measured.smallest_kept) + " / " + rough(measured.largest_dropped);
}

nlohmann::json Measurement::json() const {
  return {{"dimension", measured.dimension},
          {"predicted", predicted},
          {"model_width", tiny.model_width},
          {"heads", tiny.heads},
          {"groups", tiny.groups},
          {"key_width", tiny.key_width},
          {"value_width", tiny.value_width},
          {"parameters", measured.parameters},
          {"outputs", measured.outputs},
          {"smallest_kept", measured.smallest_kept},
          {"largest_dropped", measured.largest_dropped}};
}

Measurement measure_module_like(const AttentionConfig& config) {
  const AttentionConfig tiny = tiny_config_like(config);
  return {tiny, symmetry_of(tiny).dimension(), measure_dimension(tiny)};
}

}  // namespace attnsym
