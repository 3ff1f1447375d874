// Verdicts on many random pairs of small modules with known truth: no answer may be wrong.
//
//     soak [--pairs N] [--seed N] [--witnesses FILE] [--positions]
//
// The truth is exact mode on the numbers before they are rounded. FILE gets every pair that was called
// distinct, with its witness, for bench/replay_soak.py.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <map>
#include <numbers>

#include "bench/stored_pairs.hpp"
#include "symmetry/symmetry_group.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/decide.hpp"
#include "verify/exact.hpp"
#include "verify/stored_circuit.hpp"
#include "verify/stored_unit.hpp"

namespace attnsym::bench {
namespace {

using Weights = AttentionWeights<double>;

// Frequencies that may coincide, vanish or be half turns.
void add_rotary(AttentionConfig& c, Random& random) {
  constexpr std::array<double, 6> frequencies{1, 0.3, -0.3, 0.01, 0, std::numbers::pi};
  const Index pairs = random.below(c.key_width / 2 + 1);
  for (Index p = 0; p < pairs; ++p)
    c.rotary.frequencies.push_back(frequencies[static_cast<std::size_t>(random.below(6))]);
  c.rotary.layout = random.below(2) == 0 ? PairLayout::HalfSplit : PairLayout::Interleaved;
}

// What scores depend on besides queries and keys [N5].
void add_positions(AttentionConfig& c, Random& random) {
  const Index kind = random.below(5);
  if (kind < 2) add_rotary(c, random);
  for (Index head = 0; kind == 2 && head < c.heads; ++head)
    c.slopes.push_back(std::exp2(-static_cast<double>(random.below(3))));
  if (kind == 3) c.softcap = 1 + random.uniform() / 2;
  if (kind == 4) c.sinks = true;
}

AttentionConfig random_config(Random& random, bool positions) {
  const Index groups = 1 + random.below(3);
  AttentionConfig c{1 + random.below(10), groups * (1 + random.below(2)), groups, 1 + random.below(4),
                    1 + random.below(4)};
  c.query_bias = random.below(2) == 0;
  c.key_bias = random.below(2) == 0;
  c.value_bias = random.below(2) == 0;
  c.output_bias = random.below(2) == 0;
  c.causal = random.below(4) == 0;
  c.scale = 1 / std::sqrt(static_cast<double>(c.key_width));
  if (positions) add_positions(c, random);
  return c;
}

// Degenerate on purpose, one time in three.
void degenerate(Weights& w, Random& random) {
  const Index groups = static_cast<Index>(w.groups.size());
  KvGroup<double>& group = w.groups[random.below(groups)];
  const Index kind = random.below(12);
  if (kind == 0) group.readers[0].output.setZero();
  if (kind == 1) group.key.col(0).setZero();
  if (kind == 2) group.value.setZero();
  if (kind == 3 && groups > 1) {
    const auto readers = w.groups[1].readers;
    w.groups[1].key = w.groups[0].key;
    w.groups[1].value = w.groups[0].value;
    for (std::size_t i = 0; i < readers.size(); ++i) {
      w.groups[1].readers[i].query = w.groups[0].readers[i].query;
      w.groups[1].readers[i].query_bias = w.groups[0].readers[i].query_bias;
    }
  }
}

// Changes nothing about the function where it can, whatever the weights are.
void shuffle_outputs(Weights& w, Random& random) {
  if (w.groups.size() < 2 || w.groups[0].key != w.groups[1].key || w.groups[0].value != w.groups[1].value)
    return;
  for (std::size_t i = 0; i < w.groups[0].readers.size(); ++i) {
    QueryHead<double>& x = w.groups[0].readers[i];
    QueryHead<double>& y = w.groups[1].readers[i];
    if (x.query != y.query) return;
    const Matrix<double> part = 0.25 * static_cast<double>(1 + random.below(3)) * x.output;
    const bool biased = w.groups[0].value_bias.size() > 0;
    if (biased) return;  // the value biases differ, so the constant would
    x.output -= part;
    y.output += part;
  }
}

void edit_entry(Weights& w, double size, Random& random) {
  KvGroup<double>& group = w.groups[random.below(static_cast<Index>(w.groups.size()))];
  const auto nudge = [&](Matrix<double>& m) { m(random.below(m.rows()), random.below(m.cols())) += size; };
  const Index slot = random.below(4);
  if (slot == 0) nudge(group.key);
  if (slot == 1) nudge(group.value);
  if (slot == 2) nudge(group.readers[0].query);
  if (slot == 3) nudge(group.readers[0].output);
}

// A pair, and whether it was one function before it was rounded.
struct Pair {
  StoredAttention a;
  StoredAttention b;
  bool same;
  double edit;
};

bool is_same(const ExactDecision& exact) {
  return std::holds_alternative<Identical>(exact.verdict) ||
         std::holds_alternative<Equivalent>(exact.verdict);
}

Pair draw(Random& random, bool positions) {
  const AttentionConfig c = random_config(random, positions);
  const Format format = random.below(2) == 0 ? f32 : (random.below(2) == 0 ? f16 : bf16);
  Weights w = heavy_tailed(c, 0.3, random);
  degenerate(w, random);
  const StoredAttention a = stored(c, w, format);
  constexpr std::array<double, 6> sizes{0, 0, 1e-3, 0.03, 0.3, 3};
  const double size = sizes[static_cast<std::size_t>(random.below(6))];
  StoredAttention b = random.below(8) == 0 ? stored(c, heavy_tailed(c, 0.3, random), format) : a;
  shuffle_outputs(b.weights, random);
  if (size > 0) edit_entry(b.weights, size, random);
  const bool same = is_same(decide_exactly(a, b, random.bits()));
  SampleOptions options;
  options.condition = std::pow(10, 2 * (random.uniform() + 1) / 2);
  return {a, stored(c, act(symmetry_of(c).sample<double>(random, options), b.weights), format), same, size};
}

// Little-endian numbers one after the other: what replay_soak.py reads.
class WitnessFile {
 public:
  explicit WitnessFile(const std::string& path) : out_(path, std::ios::binary) {}

  void add(const Pair& pair, const Witness& witness) {
    if (!out_.is_open()) return;
    for (const StoredAttention* module : {&pair.a, &pair.b}) add(*module);
    add(Matrix<double>(witness.input));
    put(witness.gap);
  }

 private:
  void add(const StoredAttention& module) {
    const AttentionConfig& c = module.config;
    for (const Index number : {c.model_width, c.heads, c.groups, c.key_width, c.value_width, Index{c.causal}})
      put(static_cast<double>(number));
    put(c.scale);
    const StoredAttention full = with_all_biases(module);
    for_each_slot(full.weights, [&](const auto& slot) {
      if (slot.size() > 0) add(Matrix<double>(slot));  // there are no sinks
    });
  }

  void add(const Matrix<double>& m) {
    put(static_cast<double>(m.rows()));
    put(static_cast<double>(m.cols()));
    for (Index i = 0; i < m.size(); ++i) put(m.data()[i]);
  }

  void put(double value) { out_.write(reinterpret_cast<const char*>(&value), sizeof value); }

  std::ofstream out_;
};

// Whether one of a few random inputs proves that no two modules that round to these are one function, beyond
// what check allows for float32 arithmetic in the tools that made the files.
bool separated_at_random(const Pair& pair, std::uint64_t seed) {
  const AttentionConfig& c = pair.a.config;
  const double allowance =
      arithmetic_allowance(c.heads * std::max(c.key_width, c.value_width), storage_unit(pair.a));
  for (std::uint64_t i = 0; i < 5; ++i) {
    const Matrix<double> input = 2 * fixed_probe<double>(4, pair.a.config.model_width, seed + i);
    if (measure(pair.a, pair.b, input, 1, seed).separation > allowance) return true;
  }
  return false;
}

struct Soak {
  std::map<std::string, int> verdicts;
  int undecided_same = 0;
  int wrong = 0;

  void complain(const Pair& pair, const std::string& verdict, std::uint64_t seed, const std::string& why) {
    ++wrong;
    std::printf("WRONG: %s, edit %g, unit %g, seed of the pair %llu: %s\n", verdict.c_str(), pair.edit,
                storage_unit(pair.a), static_cast<unsigned long long>(seed), why.c_str());
  }

  void judge(const Pair& pair, std::uint64_t seed, WitnessFile& file) {
    const Decision decision = decide_equivalence(pair.a, pair.b);
    const std::string verdict = name_of(decision.verdict);
    ++verdicts[std::string(pair.same ? "same function: " : "different:     ") + verdict];
    std::optional<std::string> refuted;
    if (const auto* distinct = std::get_if<Distinct>(&decision.verdict)) {
      if (pair.same) complain(pair, verdict, seed, "it is one function");
      refuted = refute_witness(pair.a, pair.b, distinct->witness.input);
      file.add(pair, distinct->witness);
    } else if (const auto* identical = std::get_if<Identical>(&decision.verdict)) {
      // About the stored numbers: an edit that rounding undid is none.
      if (!is_same(decide_exactly(pair.a, pair.b, seed)))
        complain(pair, verdict, seed, "it is another function");
      refuted = refute_identity(pair.a, pair.b, identical->b_from_a);
    } else if (const auto* equivalent = std::get_if<Equivalent>(&decision.verdict)) {
      // A difference that the stored precision could hide is none of the verdict's business.
      if (separated_at_random(pair, seed)) complain(pair, verdict, seed, "it is another function");
      refuted = refute_equivalence(pair.a, pair.b, equivalent->evidence);
    }
    if (refuted) complain(pair, verdict, seed, "the checker says: " + *refuted);
  }
};

}  // namespace
}  // namespace attnsym::bench

int main(int argc, char** argv) {
  using namespace attnsym::bench;
  int pairs = 100000;
  std::uint64_t seed = 1;
  std::string witnesses;
  CLI::App app{"Verdicts on random pairs of known truth"};
  app.add_option("--pairs", pairs, "How many")->capture_default_str();
  app.add_option("--seed", seed, "Seed of the first pair; the next one has the next seed")
      ->capture_default_str();
  bool positions = false;
  CLI::Option* file_option = app.add_option("--witnesses", witnesses, "Write every separated pair here");
  app.add_flag("--positions", positions, "With rotary positions, ALiBi, softcaps and sinks")
      ->excludes(file_option);
  CLI11_PARSE(app, argc, argv);
  Soak soak;
  WitnessFile file(witnesses);
  for (int i = 0; i < pairs; ++i) {
    attnsym::Random random(seed + static_cast<std::uint64_t>(i));
    random.bits();
    soak.judge(draw(random, positions), seed + static_cast<std::uint64_t>(i), file);
    if ((i + 1) % 10000 == 0) std::fprintf(stderr, "%d pairs, %d wrong\n", i + 1, soak.wrong);
  }
  for (const auto& [verdict, count] : soak.verdicts)
    std::printf("%-28s %7d  %5.2f %%\n", verdict.c_str(), count, 100.0 * count / pairs);
  std::printf("%d pairs, %d wrong\n", pairs, soak.wrong);
  return soak.wrong == 0 ? 0 : 1;
}
