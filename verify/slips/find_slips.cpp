#include "verify/slips/find_slips.hpp"

#include <algorithm>

#include "verify/decide.hpp"
#include "verify/fingerprint.hpp"

namespace attnsym {
namespace {

constexpr Index search_width = 64;  // coordinates of the model on which slips are tried first
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

// The module without the slip, if that makes a difference: pairs with one that makes none cost time alone.
Module changed(const Slip& slip, const StoredAttention& module, const StoredAttention& reference) {
  Module without = slip.undone(module, reference);
  if (without && without->config == module.config && without->weights == module.weights) return std::nullopt;
  return without;
}

class SlipSearch {
 public:
  SlipSearch(const StoredAttention& a, const StoredAttention& b)
      : a_(a), b_(b), narrow_a_(narrowed(a)), prints_a_(narrow_a_) {}

  std::optional<std::vector<Slip>> operator()() const {
    const StoredAttention narrow_b = narrowed(b_);
    for (const Slip& slip : known_slips()) {
      if (looks_equal(undone_narrowly(slip, narrow_b)) && slips_explain(a_, b_, {slip})) return {{slip}};
    }
    for (const Slip& first : known_slips()) {
      const Module without_first = undone_narrowly(first, narrow_b);
      if (!without_first) continue;
      for (const Slip& second : known_slips()) {
        // Beyond the first, only what leaves the width alone can be tried on part of it.
        if (second.along_width) continue;
        if (looks_equal(changed(second, *without_first, narrow_a_)) && slips_explain(a_, b_, {first, second}))
          return {{first, second}};
      }
    }
    return std::nullopt;
  }

 private:
  Module undone_narrowly(const Slip& slip, const StoredAttention& narrow_b) const {
    if (!slip.along_width) return changed(slip, narrow_b, narrow_a_);
    Module whole = changed(slip, b_, a_);
    return whole ? Module(narrowed(std::move(*whole))) : std::nullopt;
  }

  bool looks_equal(const Module& module) const {
    if (!module) return false;
    const Prints prints(*module);
    return have_likes(prints, prints_a_) && have_likes(prints_a_, prints);
  }

  const StoredAttention& a_;
  const StoredAttention& b_;
  StoredAttention narrow_a_;
  Prints prints_a_;
};

}  // namespace

std::optional<std::vector<Slip>> find_slips(const StoredAttention& a, const StoredAttention& b) {
  require_comparable(a, b);
  if (slips_explain(a, b, {})) return std::nullopt;
  const StoredAttention with_biases_a = with_all_biases(a);
  const StoredAttention with_biases_b = with_all_biases(b);
  return SlipSearch(with_biases_a, with_biases_b)();
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
