#include "checkpoint/printable.hpp"

#include <algorithm>

namespace attnsym {

std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 120;
  std::string shown(text.substr(0, longest));
  const auto is_unprintable = [](char c) { return c < ' ' || c > '~'; };
  std::replace_if(shown.begin(), shown.end(), is_unprintable, '?');
  return "'" + shown + (text.size() > longest ? "...'" : "'");
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const std::string& part : parts) {
    if (&part != &parts.front()) text.append(separator);
    text.append(part);
  }
  return text;
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> extents;
  for (const std::int64_t extent : shape) extents.push_back(std::to_string(extent));
  return std::string("[").append(joined(extents, ", ")).append("]");
}

}  // namespace attnsym
