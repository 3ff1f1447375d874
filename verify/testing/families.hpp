#pragma once

#include <rapidcheck.h>

#include <string>
#include <vector>

#include "verify/testing/generators.hpp"
#include "verify/testing/in_scalar.hpp"

/// Groups as the test kit sees them: named families of elements that together generate the group. A layer
/// that commutes with every family commutes with the group, and the families that it breaks tell what is
/// wrong.
namespace attnsym::testing {

/// Elements that move one thing only. Every element is exact in all scalars, so that one draw can be seen at
/// several precisions.
template <GroupElement G>
struct Family {
  std::string name;
  rc::Gen<G> elements;  ///< not the identity
};

/// What the kit asks of a group: the families that are not trivial, and weights to act on, both in double.
template <class T>
concept TestedGroup = requires(const T& group) {
  group.families().front().elements;
  group.weights();
};

/// As `elements`, without the identity.
template <class G>
rc::Gen<G> moving(rc::Gen<G> elements) {
  return rc::gen::suchThat(std::move(elements), [](const G& g) { return !(g == identity_like(g)); });
}

/// Families of the group of attention modules of one config [N2].
struct AttentionGroup {
  AttentionConfig config;

  rc::Gen<AttentionWeights<double>> weights() const { return testing::weights<double>(config); }

  std::vector<Family<AttentionElement<double>>> families() const {
    std::vector<Family<AttentionElement<double>>> result;
    const auto add = [&](const char* name, auto draw) {
      result.push_back({name, moving(rc::gen::exec([c = config, draw] {
                          auto g = identity_element<double>(c);
                          draw(g);
                          return g;
                        }))});
    };
    const AttentionConfig c = config;
    const auto each = [](auto draw) {
      return [draw](AttentionElement<double>& g) {
        for (auto& move : g.local) draw(move);
      };
    };
    using Move = GroupMove<double>;
    if (c.groups > 1) add("head permutation", [c](auto& g) { g.top = *permutation(c.groups); });
    if (c.readers_per_group() > 1)
      add("reader permutation", each([c](Move& m) { m.first = *permutation(c.readers_per_group()); }));
    add("QK gauge", each([c](Move& m) { m.second.first.linear = *dyadic_linear<double>(c.key_width); }));
    add("VO gauge", each([c](Move& m) { m.second.second.linear = *dyadic_linear<double>(c.value_width); }));
    if (c.key_bias)
      add("key bias translation", each([c](Move& m) { m.second.first.shift = *row<double>(c.key_width); }));
    if (c.value_bias && c.output_bias)
      add("value bias translation",
          each([c](Move& m) { m.second.second.shift = *row<double>(c.value_width); }));
    return result;
  }
};

}  // namespace attnsym::testing
