#include "verify/verdict.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace attnsym {
namespace {

template <class Items, class Figure>
double largest(const Items& items, Figure figure) {
  double result = 0;
  for (const auto& item : items) {
    const double each = figure(item);
    if (std::isnan(each)) return each;
    result = std::max(result, each);
  }
  return result;
}

template <class Items>
bool all_explained(const Items& items) {
  return std::all_of(items.begin(), items.end(),
                     [](const auto& item) { return item.explained_by_rounding(); });
}

std::string list_heads(const std::vector<Index>& heads, const char* module) {
  if (heads.empty()) return std::string("no head of ") + module;
  std::string text = heads.size() == 1 ? "head" : "heads";
  for (const Index head : heads) text += " " + std::to_string(head);
  return text + " of " + module;
}

}  // namespace

const char* name_of(const Verdict& verdict) {
  constexpr const char* names[] = {"identical", "equivalent", "distinct", "undecided"};
  return names[verdict.index()];
}

Decision decide_same(const AttentionConfig& config) {
  Decision decision;
  decision.verdict = Identical{identity_element<double>(config)};
  for (Index head = 0; head < config.heads; ++head) {
    HeadComparison same{head, head, {}, {}};
    same.qk.limit = same.vo.limit = 2;
    decision.heads.push_back(same);
  }
  decision.constant.limit = 2;
  decision.gauge_condition = 1;
  decision.output_bound = 0;
  return decision;
}

double HeadComparison::rounding_ratio() const { return std::max(qk.ratio, vo.ratio); }
double HeadComparison::largest_ratio() const { return std::max(qk.largest_ratio(), vo.largest_ratio()); }
double HeadComparison::resolution() const { return std::max(qk.resolution, vo.resolution); }

double Decision::rounding_ratio() const {
  if (!heads.empty() && !classes_agree())
    return largest(heads, [](const HeadComparison& head) { return head.rounding_ratio(); });
  return largest(classes, [](const ClassComparison& one) { return std::max(one.qk.ratio, one.vo.ratio); });
}

double Decision::largest_ratio() const {
  if (!heads.empty() && !classes_agree())
    return largest(heads, [](const HeadComparison& head) { return head.largest_ratio(); });
  return largest(classes, [](const ClassComparison& one) { return one.largest_ratio(); });
}

double Decision::resolution() const {
  if (!heads.empty() && !classes_agree())
    return largest(heads, [](const HeadComparison& head) { return head.resolution(); });
  return largest(classes, [](const ClassComparison& one) { return one.hidden_difference(); });
}

bool Decision::heads_agree() const { return !heads.empty() && all_explained(heads); }
bool Decision::classes_agree() const { return !classes.empty() && all_explained(classes); }

std::string describe(const HeadClass& heads) {
  return list_heads(heads.a, "A") + " and " + list_heads(heads.b, "B");
}

std::string describe_difference(const Decision& decision) {
  if (decision.turn_alike_up_to)
    return "rotary positions differ in sequences of more than " + std::to_string(*decision.turn_alike_up_to) +
           " tokens";
  const bool parts_agree = decision.heads_agree() || decision.classes_agree();
  if (parts_agree && decision.constant.explained_by_rounding()) {
    const auto* undecided = std::get_if<Undecided>(&decision.verdict);
    return undecided != nullptr && !undecided->reason.empty()
               ? undecided->reason
               : "of some heads that attend alike there are not as many in A as in B";
  }
  if (parts_agree)
    return "the constant output differs (rounding ratio " + brief(decision.constant.ratio) + ")";
  if (!decision.heads.empty()) {
    const HeadComparison& worst = decision.heads[decision.worst_head];
    return "head " + std::to_string(worst.head) + " of A differs (largest rounding ratio " +
           brief(worst.largest_ratio()) + ")";
  }
  const auto worst = std::max_element(decision.classes.begin(), decision.classes.end(),
                                      [](const ClassComparison& x, const ClassComparison& y) {
                                        return x.largest_ratio() < y.largest_ratio();
                                      });
  return describe(worst->heads) + " do not compute the same (largest rounding ratio " +
         brief(worst->largest_ratio()) + ")";
}

std::string brief(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

}  // namespace attnsym
