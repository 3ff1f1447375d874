#include "symmetry/permutation.hpp"

#include <numeric>
#include <string>

#include "symmetry/errors.hpp"

namespace attnsym {

void require_same_size(const char* what, std::size_t a, std::size_t b) {
  if (a != b)
    throw ShapeError(std::string(what) + " have sizes " + std::to_string(a) + " and " + std::to_string(b));
}

Permutation Permutation::identity(Index size) {
  std::vector<Index> image(size);
  std::iota(image.begin(), image.end(), Index{0});
  return Permutation(std::move(image));
}

Permutation Permutation::from_image(std::vector<Index> image) {
  std::vector<bool> seen(image.size(), false);
  for (const Index i : image) {
    if (i < 0 || i >= static_cast<Index>(image.size()) || seen[i]) {
      throw ShapeError("not a permutation: " + std::to_string(i) + " repeats or is outside 0.." +
                       std::to_string(image.size()));
    }
    seen[i] = true;
  }
  return Permutation(std::move(image));
}

Permutation compose(const Permutation& g, const Permutation& h) {
  require_same_size("composed permutations", g.image().size(), h.image().size());
  std::vector<Index> image(g.image().size());
  for (Index i = 0; i < h.size(); ++i) image[i] = g(h(i));
  return Permutation::from_image(std::move(image));
}

Permutation inverse(const Permutation& g) {
  std::vector<Index> image(g.image().size());
  for (Index i = 0; i < g.size(); ++i) image[g(i)] = i;
  return Permutation::from_image(std::move(image));
}

Permutation identity_like(const Permutation& g) { return Permutation::identity(g.size()); }

}  // namespace attnsym
