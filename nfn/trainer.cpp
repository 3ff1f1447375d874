#include "nfn/trainer.hpp"

#include "symmetry/random.hpp"

namespace attnsym {

std::vector<Index> epoch_order(Index count, std::uint64_t seed, Index epoch) {
  // A generator per epoch: a training that goes on later needs no more than the epoch's number.
  Random random(seed + 0x9e3779b97f4a7c15U * (static_cast<std::uint64_t>(epoch) + 1));
  std::vector<Index> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), Index{0});
  for (Index i = count - 1; i > 0; --i) std::swap(order[i], order[random.below(i + 1)]);
  return order;
}

}  // namespace attnsym
