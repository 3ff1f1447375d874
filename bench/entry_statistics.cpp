// How often single matrices are wrongly called different, and from which size on an edit along one direction
// is seen [N7, aligned differences]. Draws a matrix, rounds it and an edited copy, and prints the rates.
//
//     entry_statistics [--draws N] [--seed N]
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>

#include "symmetry/random.hpp"
#include "verify/checker/entries.hpp"

namespace attnsym::bench {
namespace {

double rounded(double value, double unit) {
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(mantissa / unit) * unit, exponent);
}

Matrix<double> normal(Index rows, Index cols, Random& random) {
  Matrix<double> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = random.normal();
  return m;
}

StoredMatrix stored(Matrix<double> m, double unit) {
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = rounded(m.data()[i], unit);
  Matrix<double> radius = unit * m.cwiseAbs();
  return {std::move(m), std::move(radius)};
}

struct Rates {
  int aligned = 0;
  int lines = 0;
  int any = 0;
};

// Rows of different sizes, as real tables have, and what is added to each: `size` times the standard
// deviation of its rounding, along one direction of all.
Rates rates(Index rows, Index cols, double size, bool outlier, int draws, Random& random) {
  constexpr double coarse = 0x1p-8;
  constexpr double fine = 0x1p-24;
  EntryRules rules;
  rules.surprise = surprise_of(1e6);
  Rates result;
  for (int draw = 0; draw < draws; ++draw) {
    Matrix<double> original = normal(rows, cols, random);
    for (Index i = 0; i < rows; ++i) original.row(i) *= std::exp(0.5 * random.normal());
    if (outlier) original.col(3) *= 50;
    const RowVector<double> direction = normal(1, cols, random).normalized();
    const StoredMatrix b = stored(original, coarse);
    Matrix<double> edited = original;
    for (Index i = 0; i < rows; ++i)
      edited.row(i) += size * b.radius.row(i).norm() / std::sqrt(3.0) * direction;
    const EntryComparison compared = compare_entries(stored(edited, fine), b, rules);
    result.aligned += compared.aligned > 1 ? 1 : 0;
    result.lines += std::max(compared.row_ratio, compared.column_ratio) > compared.limit ? 1 : 0;
    result.any += compared.agrees() ? 0 : 1;
  }
  return result;
}

void run(int draws, std::uint64_t seed) {
  Random random(seed);
  std::printf(
      "rows x columns, edit in standard deviations of a row's rounding: seen by direction, by rows, at "
      "all\n");
  for (const auto& [rows, cols] :
       {std::pair<Index, Index>{8, 8}, {32, 32}, {64, 256}, {512, 128}, {4096, 64}}) {
    for (const bool outlier : {false, true}) {
      for (const double size : {0.0, 0.1, 0.2, 0.3, 0.5, 1.0}) {
        const int count = size == 0 ? draws : std::min(draws, 50);
        const Rates seen = rates(rows, cols, size, outlier, count, random);
        std::printf("%5td x %-4td %-8s %4.1f  %6.4f %6.4f %6.4f\n", rows, cols, outlier ? "outlier" : "",
                    size, static_cast<double>(seen.aligned) / count, static_cast<double>(seen.lines) / count,
                    static_cast<double>(seen.any) / count);
        std::fflush(stdout);
      }
    }
  }
}

}  // namespace
}  // namespace attnsym::bench

int main(int argc, char** argv) {
  CLI::App app{"How often single matrices are judged wrongly near the rounding"};
  int draws = 1000;
  std::uint64_t seed = 1;
  app.add_option("--draws", draws, "Matrices without an edit, of every shape")->capture_default_str();
  app.add_option("--seed", seed)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  attnsym::bench::run(draws, seed);
}
