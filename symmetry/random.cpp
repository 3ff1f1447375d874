#include "symmetry/random.hpp"

#include <cmath>
#include <numbers>

namespace attnsym {

std::uint64_t Random::bits() {
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15U);
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

Index Random::below(Index bound) {
  return static_cast<Index>(((bits() >> 32U) * static_cast<std::uint64_t>(bound)) >> 32U);
}

double Random::uniform() {
  constexpr double steps = 1 << 20;
  return static_cast<double>(below(2 * (1 << 20) + 1)) / steps - 1;
}

double Random::normal() {
  const double u = (static_cast<double>(bits() >> 11U) + 0.5) * 0x1p-53;
  const double angle = 2 * std::numbers::pi * static_cast<double>(bits() >> 11U) * 0x1p-53;
  return std::sqrt(-2 * std::log(u)) * std::cos(angle);
}

}  // namespace attnsym
