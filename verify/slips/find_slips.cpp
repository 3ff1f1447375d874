#include "verify/slips/find_slips.hpp"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "verify/decide.hpp"
#include "verify/fingerprint.hpp"

namespace attnsym {
namespace {

constexpr Index search_width = 16;  // coordinates of the model on which slips are tried first
constexpr double close_enough =
    0.01;  // squared, relative, of fingerprints: more than rounding, less than chance

using Module = std::optional<StoredAttention>;

// The module on the first coordinates of the model: what is equal on all is equal there, and slips that do
// not move numbers along the model width are slips there.
StoredAttention narrowed(StoredAttention module) {
  const Index width = std::min(search_width, module.config.model_width);
  module.config.model_width = width;
  for (AttentionWeights<double>* weights : {&module.weights, &module.radius}) {
    weights->output_bias = RowVector<double>(weights->output_bias.head(width));
    for (KvGroup<double>& group : weights->groups) {
      group.key = Matrix<double>(group.key.topRows(width));
      group.value = Matrix<double>(group.value.topRows(width));
      for (QueryHead<double>& reader : group.readers) {
        reader.query = Matrix<double>(reader.query.topRows(width));
        reader.output = Matrix<double>(reader.output.leftCols(width));
      }
    }
  }
  return module;
}

// The fingerprints of all heads.
struct Prints {
  std::vector<Fingerprint> qk;
  std::vector<Fingerprint> vo;

  explicit Prints(const StoredAttention& module) : qk(qk_fingerprints(module)), vo(vo_fingerprints(module)) {}
};

// Whether every circuit of one module has a like in the other.
bool have_likes(const std::vector<Fingerprint>& of, const std::vector<Fingerprint>& in) {
  return std::ranges::all_of(of, [&](const Fingerprint& one) {
    return std::ranges::any_of(
        in, [&](const Fingerprint& other) { return relative_distance(one, other) < close_enough; });
  });
}

// Whether every head of one has a like in the other.
bool have_likes(const Prints& of, const Prints& in) {
  for (std::size_t i = 0; i < of.qk.size(); ++i) {
    bool found = false;
    for (std::size_t j = 0; j < in.qk.size() && !found; ++j)
      found = relative_distance(of.qk[i], in.qk[j]) < close_enough &&
              relative_distance(of.vo[i], in.vo[j]) < close_enough;
    if (!found) return false;
  }
  return true;
}

// Slips that make no difference cost time alone.
Module if_changed(Module without, const StoredAttention& module) {
  const bool same = without && without->config == module.config && without->weights == module.weights;
  return same ? std::nullopt : std::move(without);
}

Module changed(const Slip& slip, const StoredAttention& module, const StoredAttention& reference) {
  return if_changed(slip.undone(module, reference), module);
}

// Whether a slip may change the circuits of one kind: one in the configuration may change both.
bool concerns(const Slip& slip, Projection one, Projection other) {
  const auto is_either = [&](Projection which) { return which == one || which == other; };
  return slip.projections.empty() || std::ranges::any_of(slip.projections, is_either);
}

class SlipSearch {
 public:
  SlipSearch(const StoredAttention& a, const StoredAttention& b)
      : a_(a), b_(b), narrow_a_(narrowed(a)), narrow_b_(narrowed(b)), prints_a_(narrow_a_) {
    const Prints prints_b(narrow_b_);
    qk_is_unlike_ = !have_likes(prints_a_.qk, prints_b.qk);
    vo_is_unlike_ = !have_likes(prints_a_.vo, prints_b.vo);
  }

  std::optional<std::vector<Slip>> operator()() const {
    for (const Slip& slip : known_slips()) {
      if (may_explain({&slip}) && looks_equal(undone_narrowly(slip)) && slips_explain(a_, b_, {slip}))
        return {{slip}};
    }
    for (const Slip& first : known_slips()) {
      const Module without_first = undone_narrowly(first);
      if (!without_first) continue;
      for (const Slip& second : known_slips()) {
        // Beyond the first, only what leaves the width alone can be tried on part of it.
        if (second.undone_in_front || !may_explain({&first, &second})) continue;
        if (looks_equal(changed(second, *without_first, narrow_a_)) && slips_explain(a_, b_, {first, second}))
          return {{first, second}};
      }
    }
    return std::nullopt;
  }

 private:
  Module undone_narrowly(const Slip& slip) const {
    if (!slip.undone_in_front) return changed(slip, narrow_b_, narrow_a_);
    return if_changed(slip.undone_in_front(b_, narrow_b_), narrow_b_);
  }

  // Circuits of A that have no likes in B are not brought back by slips that leave them alone.
  bool may_explain(std::initializer_list<const Slip*> slips) const {
    const auto any_concerns = [&](Projection one, Projection other) {
      return std::ranges::any_of(slips, [&](const Slip* slip) { return concerns(*slip, one, other); });
    };
    return (!qk_is_unlike_ || any_concerns(Projection::Query, Projection::Key)) &&
           (!vo_is_unlike_ || any_concerns(Projection::Value, Projection::Output));
  }

  bool looks_equal(const Module& module) const {
    if (!module) return false;
    const Prints prints(*module);
    return have_likes(prints, prints_a_) && have_likes(prints_a_, prints);
  }

  const StoredAttention& a_;
  const StoredAttention& b_;
  StoredAttention narrow_a_;
  StoredAttention narrow_b_;
  Prints prints_a_;
  bool qk_is_unlike_ = false;
  bool vo_is_unlike_ = false;
};

}  // namespace

std::optional<std::vector<Slip>> find_slips(StoredAttention a, StoredAttention b) {
  require_comparable(a, b);
  a = with_all_biases(std::move(a));
  b = with_all_biases(std::move(b));
  auto slips = SlipSearch(a, b)();
  // A slip that is a symmetry explains what needs no explanation.
  if (slips && slips_explain(a, b, {})) return std::nullopt;
  return slips;
}

bool slips_explain(const StoredAttention& a, const StoredAttention& b, const std::vector<Slip>& slips) {
  const StoredAttention from = with_all_biases(a);
  Module without = with_all_biases(b);
  for (const Slip& slip : slips) {
    without = slip.undone(*without, from);
    if (!without) return false;
  }
  DecideOptions options;
  options.search_witness = false;
  const Verdict verdict = decide_equivalence(from, *without, options).verdict;
  return std::holds_alternative<Identical>(verdict) || std::holds_alternative<Equivalent>(verdict);
}

}  // namespace attnsym
