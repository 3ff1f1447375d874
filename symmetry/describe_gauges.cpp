#include "symmetry/describe_gauges.hpp"

#include <map>
#include <utility>

namespace attnsym {

std::string describe_gauges(const std::vector<GaugeBlock>& blocks, bool isometries) {
  std::map<std::pair<bool, Index>, Index> counts;
  for (const GaugeBlock& block : blocks) ++counts[{!block.is_complex(), block.size()}];
  std::string text;
  for (const auto& [kind, count] : counts) {
    const auto [real, size] = kind;
    const std::string n = std::to_string(size);
    std::string one = real ? "GL(" + n + ")" : "GL(" + n + ", C)";
    if (!real && size == 1) one = count > 1 ? "(C^x)" : "C^x";
    if (isometries) one = (real ? "O(" : "U(") + n + ")";
    text += (text.empty() ? "" : " x ") + one + (count > 1 ? "^" + std::to_string(count) : "");
  }
  return text;
}

}  // namespace attnsym
