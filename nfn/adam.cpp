#include "nfn/adam.hpp"

#include <numbers>

namespace attnsym {

double Schedule::rate(Index epoch) const {
  if (epoch < warmup) return peak * static_cast<double>(epoch + 1) / static_cast<double>(warmup);
  const auto done = static_cast<double>(epoch - warmup);
  const auto all = static_cast<double>(epochs - warmup);
  return last + (peak - last) / 2 * (1 + std::cos(std::numbers::pi * done / all));
}

}  // namespace attnsym
