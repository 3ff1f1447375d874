#include "verify/verdict.hpp"

#include <algorithm>

namespace attnsym {

const char* name_of(const Verdict& verdict) {
  constexpr const char* names[] = {"identical", "equivalent", "distinct", "undecided"};
  return names[verdict.index()];
}

double HeadComparison::rounding_ratio() const { return std::max(qk.ratio, vo.ratio); }
double HeadComparison::largest_ratio() const { return std::max(qk.largest_ratio(), vo.largest_ratio()); }
double HeadComparison::resolution() const { return std::max(qk.resolution, vo.resolution); }

double Decision::rounding_ratio() const {
  double worst = 0;
  for (const HeadComparison& head : heads) worst = std::max(worst, head.rounding_ratio());
  return worst;
}

double Decision::resolution() const {
  double worst = 0;
  for (const HeadComparison& head : heads) worst = std::max(worst, head.resolution());
  return worst;
}

}  // namespace attnsym
