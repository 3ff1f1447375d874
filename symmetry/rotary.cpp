#include "symmetry/rotary.hpp"

namespace attnsym {

std::pair<Index, Index> Rotary::columns(Index pair) const {
  if (layout == PairLayout::Interleaved) return {2 * pair, 2 * pair + 1};
  return {pair, pair + pairs()};
}

}  // namespace attnsym
