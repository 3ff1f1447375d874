#include "verify/rounding_law.hpp"

#include <algorithm>
#include <cmath>

namespace attnsym {

double surprise_of(double lines) { return std::log(1000 * std::max(lines, 1.0)); }

double judged_lines(const AttentionConfig& config) {
  constexpr double modules = 128;
  return 4 * modules * static_cast<double>(config.heads * (config.model_width + 1));
}

double chance_limit(double share_squares, double largest_share, double surprise, int sources) {
  constexpr double least = 2;
  const double law =
      typical_ratio * std::sqrt(1 + 2 * std::sqrt(surprise * share_squares) + 2 * surprise * largest_share);
  const double limit = std::max(least, law);
  return sources > 0 ? std::min(limit, std::sqrt(3.0 * sources)) : limit;
}

double chance_limit(const LineVariances& line, double surprise, int sources) {
  if (!(line.sum > 0)) return chance_limit(0, 0, surprise, sources);
  return chance_limit(line.squares / (line.sum * line.sum), line.largest / line.sum, surprise, sources);
}

double limit_with_arithmetic(double chance, double allowance) {
  return std::sqrt(chance * chance + 4 * std::max(allowance * allowance - 1, 0.0));
}

double singular_value_limit(double row_norm, double column_norm, double largest, double surprise) {
  return row_norm + column_norm + std::sqrt(2 * surprise) * largest;
}

}  // namespace attnsym
