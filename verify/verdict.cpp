#include "verify/verdict.hpp"

#include <algorithm>
#include <cstdio>

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

bool Decision::heads_agree() const {
  return std::all_of(heads.begin(), heads.end(),
                     [](const HeadComparison& head) { return head.explained_by_rounding(); });
}

std::string describe_difference(const Decision& decision) {
  if (decision.heads.empty()) return "the shapes differ";
  if (decision.heads_agree())
    return "the constant output differs (rounding ratio " + brief(decision.constant.ratio) + ")";
  const HeadComparison& worst = decision.heads[decision.worst_head];
  return "head " + std::to_string(worst.head) + " of A differs (largest rounding ratio " +
         brief(worst.largest_ratio()) + ")";
}

std::string brief(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

}  // namespace attnsym
