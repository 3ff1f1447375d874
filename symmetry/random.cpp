#include "symmetry/random.hpp"

#include <cmath>
#include <numbers>

namespace attnsym {

double Random::normal() {
  const double u = (static_cast<double>(bits() >> 11U) + 0.5) * 0x1p-53;
  const double angle = 2 * std::numbers::pi * static_cast<double>(bits() >> 11U) * 0x1p-53;
  return std::sqrt(-2 * std::log(u)) * std::cos(angle);
}

}  // namespace attnsym
