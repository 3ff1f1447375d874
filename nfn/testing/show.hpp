#pragma once

#include <ostream>

#include "nfn/block_symmetry.hpp"
#include "verify/testing/show.hpp"

/// How RapidCheck prints blocks. It finds these by argument-dependent lookup, hence the namespace.
// The name is RapidCheck's. NOLINTBEGIN(readability-identifier-naming)
namespace attnsym {

inline void showValue(const BlockShape& s, std::ostream& out) {
  out << "D " << s.model_width << ", " << s.heads << " heads, Dk " << s.key_width << ", Dv " << s.value_width
      << ", DA " << s.hidden_width;
}

template <Scalar S>
void showValue(const GeneralLinear<S>& g, std::ostream& out) {
  out << "the gauge\n" << g.matrix();
}

template <Scalar S>
void showValue(const WeightFeatures<S>& features, std::ostream& out) {
  showValue(features.shape, out);
  out << ", " << features.channels << " channels, " << features.batch << " checkpoints";
  for_each_tensor(features, [&](const char* name, const Matrix<S>& tensor) {
    out << '\n' << name << " =\n" << tensor;
  });
}

}  // namespace attnsym
// NOLINTEND(readability-identifier-naming)
