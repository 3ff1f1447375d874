#pragma once

#include <vector>

#include "symmetry/group.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// A permutation p of 0..n-1. Acting on a list it moves entry i to place p(i).
class Permutation {
 public:
  static Permutation identity(Index size);

  /// image[i] = p(i). @throws ShapeError unless every number 0..n-1 occurs exactly once.
  static Permutation from_image(std::vector<Index> image);

  Index size() const { return static_cast<Index>(image_.size()); }
  Index operator()(Index i) const { return image_[i]; }
  const std::vector<Index>& image() const { return image_; }

  bool operator==(const Permutation&) const = default;

 private:
  explicit Permutation(std::vector<Index> image) : image_(std::move(image)) {}

  std::vector<Index> image_;
};

Permutation compose(const Permutation& g, const Permutation& h);
Permutation inverse(const Permutation& g);
Permutation identity_like(const Permutation& g);

/// Moves items[i] to place p(i). @throws ShapeError on different sizes.
template <class T>
std::vector<T> act(const Permutation& p, std::vector<T> items);

void require_same_size(const char* what, std::size_t a, std::size_t b);

template <class T>
std::vector<T> act(const Permutation& p, std::vector<T> items) {
  require_same_size("a permutation and the list it acts on", p.image().size(), items.size());
  std::vector<T> moved;
  moved.reserve(items.size());
  const Permutation source_of = inverse(p);
  for (const Index source : source_of.image()) moved.push_back(std::move(items[source]));
  return moved;
}

static_assert(GroupElement<Permutation>);
static_assert(LeftActsOn<Permutation, std::vector<int>>);

}  // namespace attnsym
