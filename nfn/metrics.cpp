#include "nfn/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

using Pair = std::pair<double, double>;

constexpr double undefined = std::numeric_limits<double>::quiet_NaN();

std::int64_t pairs_among(std::int64_t count) { return count * (count - 1) / 2; }

// Pairs of neighbours-or-further within runs of equal items of a sorted range.
template <class Range, class Equal>
std::int64_t tied_pairs(const Range& sorted, Equal equal) {
  std::int64_t tied = 0;
  std::int64_t run = 1;
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    run = equal(sorted[i - 1], sorted[i]) ? run + 1 : 1;
    tied += run - 1;
  }
  return tied;
}

// Sorts, and counts the pairs that were in descending order. `scratch` is as long as `values`.
std::int64_t sort_and_count(std::span<double> values, std::span<double> scratch) {
  if (values.size() < 2) return 0;
  const std::size_t half = values.size() / 2;
  std::int64_t descending = sort_and_count(values.first(half), scratch.first(half)) +
                            sort_and_count(values.subspan(half), scratch.subspan(half));
  std::size_t left = 0;
  std::size_t right = half;
  for (double& next : scratch) {
    const bool take_right = left == half || (right < values.size() && values[right] < values[left]);
    if (take_right) descending += static_cast<std::int64_t>(half - left);
    next = values[take_right ? right++ : left++];
  }
  std::copy(scratch.begin(), scratch.end(), values.begin());
  return descending;
}

}  // namespace

double kendall_tau(std::span<const double> a, std::span<const double> b) {
  require_same_size("two rankings", a.size(), b.size());
  const auto is_nan = [](double x) { return std::isnan(x); };
  if (std::any_of(a.begin(), a.end(), is_nan) || std::any_of(b.begin(), b.end(), is_nan)) return undefined;
  std::vector<Pair> pairs;
  for (std::size_t i = 0; i < a.size(); ++i) pairs.emplace_back(a[i], b[i]);
  std::ranges::sort(pairs);
  const std::int64_t tied_a =
      tied_pairs(pairs, [](const Pair& x, const Pair& y) { return x.first == y.first; });
  const std::int64_t tied_both = tied_pairs(pairs, std::equal_to<>());
  // In the order of a, and of b within ties of a, a pair is discordant if b descends.
  std::vector<double> second;
  for (const Pair& pair : pairs) second.push_back(pair.second);
  std::vector<double> scratch(second.size());
  const std::int64_t discordant = sort_and_count(second, scratch);
  const std::int64_t tied_b = tied_pairs(second, std::equal_to<>());

  const std::int64_t all = pairs_among(static_cast<std::int64_t>(a.size()));
  if (tied_a == all || tied_b == all) return undefined;
  const std::int64_t concordant = all - tied_a - tied_b + tied_both - discordant;
  return static_cast<double>(concordant - discordant) /
         std::sqrt(static_cast<double>(all - tied_a) * static_cast<double>(all - tied_b));
}

double r_squared(std::span<const double> labels, std::span<const double> predictions) {
  require_same_size("labels and predictions", labels.size(), predictions.size());
  const double mean = std::accumulate(labels.begin(), labels.end(), 0.0) / static_cast<double>(labels.size());
  double residual = 0;
  double total = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    residual += (labels[i] - predictions[i]) * (labels[i] - predictions[i]);
    total += (labels[i] - mean) * (labels[i] - mean);
  }
  return total > 0 ? 1 - residual / total : undefined;
}

}  // namespace attnsym
