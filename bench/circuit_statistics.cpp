// From which size on an edit of a projection along one direction of tokens is no rounding of circuits [N7,
// aligned differences of circuits]. Draws a module, rounds it, moves and rounds an edited copy, and prints
// how often the checker refuses the change of basis.
//
//     circuit_statistics [--draws N] [--seed N]
#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <cstdio>

#include "bench/stored_pairs.hpp"
#include "symmetry/symmetry_group.hpp"
#include "verify/checker/certificate.hpp"

namespace attnsym::bench {
namespace {

enum class Edited { Query, Key, Value, Output };

struct Shape {
  const char* name;
  AttentionConfig config;
};

std::vector<Shape> shapes() {
  std::vector<Shape> result;
  for (const auto& [width, head] : {std::pair<Index, Index>{192, 12}, {512, 64}}) {
    AttentionConfig plain{width, 2, 1, head, head};
    plain.causal = true;
    plain.scale = 1 / std::sqrt(static_cast<double>(head));
    AttentionConfig turned = plain;
    for (Index pair = 0; pair < head / 2; ++pair)
      turned.rotary.frequencies.push_back(
          std::pow(1e4, -2.0 * static_cast<double>(pair) / static_cast<double>(head)));
    result.push_back({"plain", plain});
    result.push_back({"rotary", turned});
  }
  return result;
}

// `size` standard deviations of its rounding are added to every row (of O: every column), along one
// direction.
void edit(AttentionWeights<double>& weights, Edited what, double size, Random& random) {
  KvGroup<double>& group = weights.groups[0];
  Matrix<double>* const slots[] = {&group.readers[0].query, &group.key, &group.value,
                                   &group.readers[0].output};
  Matrix<double>& slot = *slots[static_cast<std::size_t>(what)];
  if (what == Edited::Output) slot.transposeInPlace();
  RowVector<double> direction(slot.cols());
  for (double& entry : direction) entry = random.normal();
  direction.normalize();
  for (Index i = 0; i < slot.rows(); ++i)
    slot.row(i) += size * bf16.unit * slot.row(i).norm() / std::sqrt(3.0) * direction;
  if (what == Edited::Output) slot.transposeInPlace();
}

bool is_refused(const AttentionConfig& config, Edited what, double size, Random& random) {
  const AttentionWeights<double> original = heavy_tailed(config, 0.5, random);
  AttentionWeights<double> edited = original;
  edit(edited, what, size, random);
  const auto b_from_a = symmetry_of(config).sample<double>(random, {.condition = 10});
  return refute_equivalence(stored(config, original, bf16), stored(config, act(b_from_a, edited), f32),
                            b_from_a)
      .has_value();
}

void run(int draws, std::uint64_t seed) {
  Random random(seed);
  std::printf("edit in standard deviations of a row's rounding: how often it is refused, of Q, K, V, O\n");
  for (const Shape& shape : shapes()) {
    for (const double size : {0.0, 0.25, 0.5, 1.0, 1.5, 2.0}) {
      std::printf("D %td, heads of %td, %-6s %5.2f ", shape.config.model_width, shape.config.key_width,
                  shape.name, size);
      for (const Edited what : {Edited::Query, Edited::Key, Edited::Value, Edited::Output}) {
        int refused = 0;
        for (int draw = 0; draw < draws; ++draw)
          refused += is_refused(shape.config, what, size, random) ? 1 : 0;
        std::printf(" %6.3f", static_cast<double>(refused) / draws);
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace attnsym::bench

int main(int argc, char** argv) {
  CLI::App app{"From which size on an aligned edit of a circuit is seen"};
  int draws = 100;
  std::uint64_t seed = 1;
  app.add_option("--draws", draws, "Modules of every shape, size and slot")->capture_default_str();
  app.add_option("--seed", seed)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  attnsym::bench::run(draws, seed);
}
