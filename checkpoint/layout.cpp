#include "checkpoint/layout.hpp"

#include <charconv>

namespace attnsym {
namespace {

void replace(std::string& text, std::string_view what, Index number) {
  const std::size_t at = text.find(what);
  if (at != std::string::npos) text.replace(at, what.size(), std::to_string(number));
}

}  // namespace

std::string tensor_name(std::string_view prefix, std::string_view pattern, Index layer) {
  std::string name = std::string(prefix) + std::string(pattern);
  replace(name, "{layer}", layer);
  replace(name, "{previous}", layer - 1);
  return name;
}

std::optional<Index> layer_of(std::string_view name, std::string_view prefix, std::string_view pattern) {
  const std::size_t at = prefix.size() + pattern.find("{layer}");
  if (at >= name.size()) return std::nullopt;
  Index layer = 0;
  const auto digits = std::from_chars(name.data() + at, name.data() + name.size(), layer);
  if (digits.ec != std::errc() || tensor_name(prefix, pattern, layer) != name) return std::nullopt;
  return layer;
}

}  // namespace attnsym
