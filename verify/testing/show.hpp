#pragma once

#include <ostream>

#include "symmetry/attention_symmetry.hpp"
#include "symmetry/attention_weights.hpp"

/// How RapidCheck prints a counterexample. It finds these by argument-dependent lookup, hence the namespace.
// The name is RapidCheck's. NOLINTBEGIN(readability-identifier-naming)
namespace attnsym {

inline void showValue(const Permutation& p, std::ostream& out) {
  out << '(';
  for (const Index i : p.image()) out << ' ' << i;
  out << " )";
}

template <Scalar S>
void showValue(const Affine<S>& gauge, std::ostream& out) {
  out << "x L^T + shift, L =\n" << gauge.linear.matrix() << "\nshift = " << gauge.shift;
}

template <GroupElement G, GroupElement H>
void showValue(const Direct<G, H>& pair, std::ostream& out) {
  showValue(pair.first, out);
  out << '\n';
  showValue(pair.second, out);
}

template <GroupElement G>
void showValue(const Wreath<G>& element, std::ostream& out) {
  out << "places go to ";
  showValue(element.top, out);
  for (std::size_t j = 0; j < element.local.size(); ++j) {
    out << "\nplace " << j << " is moved by ";
    showValue(element.local[j], out);
  }
}

inline void showValue(const AttentionConfig& c, std::ostream& out) {
  out << "D " << c.model_width << ", " << c.heads << " heads in " << c.groups << " groups, dk " << c.key_width
      << ", dv " << c.value_width << ", biases q" << c.query_bias << " k" << c.key_bias << " v"
      << c.value_bias << " o" << c.output_bias;
}

template <Scalar S>
void showValue(const AttentionWeights<S>& weights, std::ostream& out) {
  for (std::size_t j = 0; j < weights.groups.size(); ++j) {
    const KvGroup<S>& group = weights.groups[j];
    out << "group " << j << " key =\n" << group.key << "\nvalue =\n" << group.value;
    out << "\nkey bias = " << group.key_bias << "\nvalue bias = " << group.value_bias << '\n';
    for (std::size_t i = 0; i < group.readers.size(); ++i) {
      const QueryHead<S>& reader = group.readers[i];
      out << "reader " << i << " query =\n" << reader.query << "\noutput =\n" << reader.output;
      out << "\nquery bias = " << reader.query_bias << '\n';
    }
  }
  out << "output bias = " << weights.output_bias;
}

}  // namespace attnsym
// NOLINTEND(readability-identifier-naming)
