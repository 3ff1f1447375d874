#include "symmetry/rotary.hpp"

#include <cmath>

namespace attnsym {

std::pair<Index, Index> Rotary::columns(Index pair) const {
  if (layout == PairLayout::Interleaved) return {2 * pair, 2 * pair + 1};
  return {pair, pair + pairs()};
}

std::vector<double> Rotary::at(Index tokens) const {
  if (!beyond || tokens <= beyond->length) return frequencies;
  if (beyond->growth == 0) return beyond->frequencies;
  const double growth = beyond->growth;
  const double stretch =
      growth * static_cast<double>(tokens) / static_cast<double>(beyond->length) - (growth - 1);
  std::vector<double> result = frequencies;
  for (Index p = 0; p < pairs(); ++p)
    result[p] *= std::pow(stretch, -static_cast<double>(p) / static_cast<double>(pairs() - 1));
  return result;
}

}  // namespace attnsym
