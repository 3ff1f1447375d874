#include <iterator>

#include "verify/slips/slip.hpp"

namespace attnsym {

const std::vector<Slip>& known_slips() {
  static const std::vector<Slip> all = [] {
    std::vector<Slip> slips;
    for (auto make : {setting_slips, layout_slips, head_order_slips}) {
      std::vector<Slip> more = make();
      std::move(more.begin(), more.end(), std::back_inserter(slips));
    }
    return slips;
  }();
  return all;
}

}  // namespace attnsym
