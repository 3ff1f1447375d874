#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "checkpoint/model_config.hpp"
#include "symmetry/errors.hpp"

// config.json, and after a zero byte a layout if there is one: either refused with FormatError, or read into
// sizes and positions that can be worked with.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = text.find('\0');
  const std::string_view layout = zero == std::string_view::npos ? std::string_view() : text.substr(zero + 1);
  try {
    const attnsym::ModelConfig config =
        attnsym::parse_model_config(text.substr(0, zero), "config.json", layout, "layout.json").config;
    if (config.layers < 1 || config.heads < 1 || config.kv_heads < 1 || config.heads % config.kv_heads != 0)
      std::abort();
    for (const attnsym::Index layer : {attnsym::Index{0}, config.layers - 1}) {
      const attnsym::ScoreRule rule = config.scores(layer);
      if (2 * rule.rotary.pairs() > config.head_dim || !std::isfinite(rule.scale)) std::abort();
    }
  } catch (const attnsym::FormatError&) {
  }
  return 0;
}
