#include "verify/head_classes.hpp"

#include <algorithm>

#include "verify/fingerprint.hpp"

namespace attnsym {
namespace {

// A head of either module.
struct Head {
  const StoredAttention* module;
  Index index;

  StoredScores qk() const { return stored_scores(*module, index); }
  StoredCircuit vo() const { return stored_vo_circuit(*module, index); }
};

Head first_of(const StoredAttention& a, const StoredAttention& b, const HeadClass& heads) {
  return heads.a.empty() ? Head{&b, heads.b.front()} : Head{&a, heads.a.front()};
}

// Finds each head its class. A class is known by the fingerprint and the circuit of its first head.
class Classifier {
 public:
  Classifier(const StoredAttention& a, const StoredAttention& b) : a_(a), b_(b) {
    const Index width = std::max(a.config.key_width, b.config.key_width);
    limit_ = ratio_limit(width, std::max(storage_unit(a), storage_unit(b)));
  }

  void add_all(const StoredAttention& module, std::vector<Index> HeadClass::*side, std::size_t begin) {
    const std::vector<Fingerprint> prints = qk_fingerprints(module);
    for (Index head = 0; head < module.config.heads; ++head)
      (class_of({&module, head}, prints[head], begin).*side).push_back(head);
  }

  std::size_t count() const { return classes_.size(); }
  HeadClasses result() && { return std::move(classes_); }

 private:
  // The class whose first circuit is nearest among those from `begin` on that agree, or a new one.
  HeadClass& class_of(const Head& head, Fingerprint print, std::size_t begin) {
    const StoredScores scores = head.qk();
    note_noise(print, scores);
    std::size_t best = classes_.size();
    double best_ratio = 0;
    for (std::size_t k = begin; k < classes_.size(); ++k) {
      if (!may_agree(prints_[k], print, limit_)) continue;
      const CircuitComparison compared = compare(first_of(a_, b_, classes_[k]).qk(), scores);
      if (!compared.explained_by_rounding()) continue;
      if (best < classes_.size() && compared.largest_ratio() >= best_ratio) continue;
      best = k;
      best_ratio = compared.largest_ratio();
    }
    if (best < classes_.size()) return classes_[best];
    prints_.push_back(std::move(print));
    return classes_.emplace_back();
  }

  const StoredAttention& a_;
  const StoredAttention& b_;
  double limit_;
  HeadClasses classes_;
  std::vector<Fingerprint> prints_;
};

// Every head of the module occurs in exactly one class.
bool covers(const HeadClasses& classes, std::vector<Index> HeadClass::*side, Index heads) {
  std::vector<int> seen(static_cast<std::size_t>(heads), 0);
  for (const HeadClass& one : classes) {
    for (const Index head : one.*side) {
      if (head < 0 || head >= heads || seen[head]++ > 0) return false;
    }
  }
  return std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; });
}

}  // namespace

std::optional<std::string> refute_partition(const StoredAttention& a, const StoredAttention& b,
                                            const HeadClasses& classes) {
  if (!covers(classes, &HeadClass::a, a.config.heads) || !covers(classes, &HeadClass::b, b.config.heads))
    return "the classes do not contain every head exactly once";
  const auto mixed = [](const HeadClass& heads) { return !heads.a.empty() && !heads.b.empty(); };
  if (!a.config.scores_like(b.config) && std::any_of(classes.begin(), classes.end(), mixed))
    return "heads with different masks, softcaps, sinks, gates or positions of long sequences have no "
           "circuit in common";
  const auto uneven = [](const HeadClass& heads) { return heads.a.size() != heads.b.size(); };
  const auto spans = [](const AttentionConfig& c) { return c.qk_norm && c.qk_norm->over_all_heads; };
  if ((spans(a.config) || spans(b.config)) && std::any_of(classes.begin(), classes.end(), uneven))
    return "a norm over all heads sees how many heads of every kind there are";
  return std::nullopt;
}

HeadClasses classify_heads(const StoredAttention& a, const StoredAttention& b) {
  Classifier classifier(a, b);
  classifier.add_all(a, &HeadClass::a, 0);
  classifier.add_all(b, &HeadClass::b, a.config.scores_like(b.config) ? 0 : classifier.count());
  return std::move(classifier).result();
}

ClassComparison compare_class(const StoredAttention& a, const StoredAttention& b, const HeadClass& heads) {
  ClassComparison result{heads, {}, compare(stored_vo_sum(a, heads.a), stored_vo_sum(b, heads.b))};
  const Head first = first_of(a, b, heads);
  const StoredScores first_qk = first.qk();
  bool blank = true;
  const bool is_single = heads.a.size() + heads.b.size() == 1;  // then its sum against nothing is known
  const auto add = [&](const Head& head) {
    const CircuitComparison alone =
        is_single ? result.vo
                  : compare(head.vo(), zero_circuit(a.config.model_width + 1, a.config.model_width));
    result.vo_scale = std::max(result.vo_scale, alone.norm);
    result.vo_norms_at_most += alone.norm_at_most;
    if (head.module == first.module && head.index == first.index) return;
    const CircuitComparison compared = compare(first_qk, head.qk());
    if (blank || !(compared.largest_ratio() <= result.qk.largest_ratio())) result.qk = compared;
    blank = false;
    result.qk_difference_at_most = std::max(result.qk_difference_at_most, compared.difference_at_most);
  };
  for (const Index head : heads.a) add({&a, head});
  for (const Index head : heads.b) add({&b, head});
  return result;
}

}  // namespace attnsym
