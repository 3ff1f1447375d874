// How often check is wrong near the rounding, and from which size on it sees an edit [N7]. Draws pairs of
// modules that differ by a change of basis, rounding and an edit of known size, and prints the rates.
//
//     rounding_statistics [--pairs N] [--seed N]
#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>

#include "bench/stored_pairs.hpp"
#include "symmetry/circuits.hpp"
#include "symmetry/symmetry_group.hpp"
#include "verify/decide.hpp"
#include "verify/rounding.hpp"
#include "verify/stored_circuit.hpp"

namespace attnsym::bench {
namespace {

using Weights = AttentionWeights<double>;

// Each changes one head's QK circuit, except `Everywhere`; the size is set afterwards.
enum class Edit { Entry, Row, Head, LowRank, Everywhere };
constexpr std::array<std::pair<Edit, const char*>, 5> edits{{{Edit::Entry, "one entry"},
                                                             {Edit::Row, "one row"},
                                                             {Edit::Head, "one head"},
                                                             {Edit::LowRank, "rank one"},
                                                             {Edit::Everywhere, "all weights"}}};
constexpr std::array<double, 7> sizes{0, 0.1, 0.3, 1, 3, 10, 100};

Matrix<double> normal(Index rows, Index cols, Random& random) {
  Matrix<double> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = random.normal();
  return m;
}

// A direction for the queries of head 0, of any size.
Matrix<double> query_direction(Edit edit, Index rows, Index cols, Random& random) {
  Matrix<double> direction = Matrix<double>::Zero(rows, cols);
  if (edit == Edit::Entry) direction(random.below(rows), random.below(cols)) = 1;
  if (edit == Edit::Row) direction.row(random.below(rows)) = normal(1, cols, random);
  if (edit == Edit::Head || edit == Edit::Everywhere) direction = normal(rows, cols, random);
  if (edit == Edit::LowRank) direction = normal(rows, 1, random) * normal(1, cols, random);
  return direction;
}

// `module` with an edit that changes the QK circuit of head 0 by `size` times `resolution`, relative to its
// norm.
StoredAttention edited(StoredAttention module, Edit edit, double size, double resolution,
                       const Format& format, Random& random) {
  if (size == 0) return module;
  Weights& w = module.weights;
  Matrix<double>& query = w.groups[0].readers[0].query;
  const Circuit<double> circuit = qk_circuit(module.config, w, 0);
  Matrix<double> direction = query_direction(edit, query.rows(), query.cols(), random);
  const double change = norm(Circuit<double>{module.config.scale * direction, circuit.right});
  direction *= size * resolution * norm(circuit) / change;
  const double relative = direction.norm() / query.norm();
  query += direction;
  if (edit == Edit::Everywhere) {
    for_each_slot(w, [&](auto& slot) {
      if (slot.size() == 0 || static_cast<const void*>(slot.data()) == static_cast<const void*>(query.data()))
        return;
      slot += relative * slot.norm() / std::sqrt(static_cast<double>(slot.size())) *
              normal(slot.rows(), slot.cols(), random);
    });
  }
  return stored(module.config, std::move(w), format);
}

struct Tally {
  int equal = 0;
  int distinct = 0;
  int undecided = 0;

  void add(const Verdict& verdict) {
    if (std::holds_alternative<Distinct>(verdict)) {
      ++distinct;
    } else if (std::holds_alternative<Undecided>(verdict)) {
      ++undecided;
    } else {
      ++equal;
    }
  }
};

AttentionConfig config_of(Index width) {
  AttentionConfig c{width, 4, 4, width / 4, width / 4};
  c.query_bias = c.key_bias = c.value_bias = c.output_bias = true;
  c.scale = 1 / std::sqrt(static_cast<double>(c.key_width));
  return c;
}

void print_row(const AttentionConfig& config, const Format& format, double condition,
               const std::pair<Edit, const char*>& edit, int pairs, Random& random) {
  std::printf("%-5td %-5s %-6g %-12s", config.model_width, format.name, condition, edit.second);
  for (const double size : sizes) {
    Tally tally;
    for (int i = 0; i < pairs; ++i) {
      const StoredAttention a = stored(config, heavy_tailed(config, 0.5, random), format);
      SampleOptions options;
      options.condition = condition;
      options.heads = false;
      const auto g = symmetry_of(config).sample<double>(random, options);
      const StoredAttention same = stored(config, act(g, a.weights), format);
      const double resolution = compare(stored_qk_circuit(a, 0), stored_qk_circuit(same, 0)).resolution;
      const StoredAttention b = edited(same, edit.first, size, resolution, format, random);
      tally.add(decide_equivalence(a, b).verdict);
    }
    std::printf("  %3.0f/%3.0f/%3.0f", 100.0 * tally.equal / pairs, 100.0 * tally.undecided / pairs,
                100.0 * tally.distinct / pairs);
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace
}  // namespace attnsym::bench

int main(int argc, char** argv) {
  using namespace attnsym::bench;
  int pairs = 20;
  std::uint64_t seed = 1;
  CLI::App app{"Verdicts against edit size"};
  app.add_option("--pairs", pairs, "Pairs per row and size")->capture_default_str();
  app.add_option("--seed", seed, "Seed")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  attnsym::Random random(seed);
  std::printf("per cent equivalent/undecided/distinct; edit size in units of the resolution\n");
  std::printf("%-5s %-5s %-6s %-12s", "width", "dtype", "cond", "edit");
  for (const double size : sizes) std::printf("  %11g", size);
  std::printf("\n");
  for (const attnsym::Index width : {32, 96}) {
    for (const Format& format : {f32, f16, bf16}) {
      for (const double condition : {1.0, 10.0, 100.0}) {
        for (const auto& edit : edits) print_row(config_of(width), format, condition, edit, pairs, random);
      }
    }
  }
  return 0;
}
