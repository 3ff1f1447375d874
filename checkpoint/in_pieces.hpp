#pragma once

#include <algorithm>
#include <cstddef>

namespace attnsym {

/// Numbers in pieces that stay in the cache while several things are done with them.
template <class Visit>
void for_each_piece(std::size_t count, Visit visit) {
  constexpr std::size_t piece = 4096;
  for (std::size_t first = 0; first < count; first += piece) visit(first, std::min(piece, count - first));
}

}  // namespace attnsym
