#include "nfn/block_shape.hpp"

#include <algorithm>

#include "symmetry/errors.hpp"

namespace attnsym {

void BlockShape::validate() const {
  if (std::min({model_width, heads, key_width, value_width, hidden_width}) < 1) {
    throw ShapeError("a block needs positive widths and at least one head");
  }
}

}  // namespace attnsym
