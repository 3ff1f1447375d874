#pragma once

#include <ostream>
#include <string>

#include "nfn/block_symmetry.hpp"
#include "verify/testing/show.hpp"

/// How RapidCheck prints blocks. It finds these by argument-dependent lookup, hence the namespace.
// The name is RapidCheck's. NOLINTBEGIN(readability-identifier-naming)
namespace attnsym {

inline void showValue(const BlockShape& s, std::ostream& out) {
  out << "D " << s.model_width << ", " << s.heads << " heads, Dk " << s.key_width << ", Dv " << s.value_width
      << ", DA " << s.hidden_width << (s.residual ? ", residual" : "")
      << (s.affine_norm ? ", affine norm" : "");
}

/// Tensors that are zero are left out.
template <Scalar S>
void showValue(const WeightFeatures<S>& features, std::ostream& out) {
  showValue(features.shape, out);
  out << ", " << features.channels << " channels, " << features.batch << " checkpoints; zero but for";
  for_each_tensor(features, [&](const char* name, const Matrix<S>& tensor) {
    if (!tensor.isZero(0)) out << '\n' << name << " =\n" << tensor;
  });
}

/// Parts that are the identity are left out.
template <Scalar S>
void showValue(const BlockElement<S>& g, std::ostream& out) {
  const auto show = [&](const char* name, const auto& part) {
    if (part == identity_like(part)) return;
    out << '\n' << name << ' ';
    if constexpr (requires { part.matrix(); }) {
      out << "=\n" << part.matrix();
    } else {
      showValue(part, out);
    }
  };
  out << "the identity but for";
  show("heads go to", head_moves(g).top);
  for (std::size_t i = 0; i < head_moves(g).local.size(); ++i) {
    show(("QK gauge of head " + std::to_string(i)).c_str(), head_moves(g).local[i].first);
    show(("VO gauge of head " + std::to_string(i)).c_str(), head_moves(g).local[i].second);
  }
  show("P_D: coordinates go to", model_order(g));
  show("P_DA: hidden units go to", hidden_order(g));
}

}  // namespace attnsym
// NOLINTEND(readability-identifier-naming)
