#pragma once

#include "nfn/testing/generators.hpp"
#include "verify/testing/families.hpp"

namespace attnsym::testing {

/// Families of the group of blocks of one shape [N13].
struct BlockGroup {
  BlockShape shape;
  Index channels = 1;
  Index batch = 1;

  rc::Gen<WeightFeatures<double>> weights() const { return features<double>(shape, channels, batch); }

  std::vector<Family<BlockElement<double>>> families() const {
    std::vector<Family<BlockElement<double>>> result;
    const auto add = [&](const char* name, auto draw) {
      result.push_back({name, moving(rc::gen::exec([s = shape, draw] {
                          auto g = identity_element<double>(s);
                          draw(g);
                          return g;
                        }))});
    };
    const BlockShape s = shape;
    if (s.heads > 1) add("head permutation", [s](auto& g) { g.first.top = *permutation(s.heads); });
    add("QK gauge", [s](auto& g) {
      for (auto& gauges : g.first.local) gauges.first = *dyadic_linear<double>(s.key_width);
    });
    add("VO gauge", [s](auto& g) {
      for (auto& gauges : g.first.local) gauges.second = *dyadic_linear<double>(s.value_width);
    });
    if (s.model_width > 1 && !s.residual)
      add("P_D", [s](auto& g) { g.second.first = *permutation(s.model_width); });
    if (s.hidden_width > 1) add("P_DA", [s](auto& g) { g.second.second = *permutation(s.hidden_width); });
    return result;
  }
};

}  // namespace attnsym::testing
