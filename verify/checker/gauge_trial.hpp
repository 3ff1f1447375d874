#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "symmetry/gauge_blocks.hpp"
#include "symmetry/general_linear.hpp"
#include "verify/checker/circuit_rules.hpp"
#include "verify/comparison.hpp"
#include "verify/stored_factors.hpp"

namespace attnsym {

/// A change of basis L between two key/value groups, tried on their circuits. With what a group writes W
/// (keys or values) and what a reader makes of it R (queries or transposed outputs), in the columns of one
/// block, the circuits differ by
///
///     R_a W_a^* - R_b W_b^* = P W_a^* + R_b E^*,   E = W_a L^T - W_b,   P = R_a - R_b conj(L)          [N4]
///
/// whatever L is. If L is right, E and P are as small as rounding: nothing cancels, Gram matrices are
/// accurate enough, and the cost is a few products of D x n by n x n.
class GaugeTrial {
 public:
  /// @param written_a, written_b  without biases that are free
  /// @param blocks   of the gauge
  /// @param factors  per block what multiplies its circuits
  GaugeTrial(const StoredFactor& written_a, const StoredFactor& written_b,
             const GeneralLinear<double>& linear, const std::vector<GaugeBlock>& blocks,
             const std::vector<double>& factors, const CircuitRules& rules);
  GaugeTrial(GaugeTrial&&) noexcept;
  ~GaugeTrial();

  /// How the circuits of one reader compare, rows being those of the reading factor. Absent unless rounding
  /// explains all three: the difference, that of A's written factor moved into B (R_b E^*), and that of A's
  /// reading factor moved into B (P conj(L)^-1 W_b^*); unless P W_a^* and R_b E^* have no direction that it
  /// does not explain; and where squares would leave the range of double.
  std::optional<CircuitComparison> compare(const StoredFactor& reading_a,
                                           const StoredFactor& reading_b) const;

  /// Whether the circuits of one reader agree, of a gauge that anybody may have stated: as compare, and
  /// computing the difference cannot have got more wrong than rounding did. Where E or P are large and
  /// cancel, or the gauge is large where nothing reads, nothing is said.
  bool holds(const StoredFactor& reading_a, const StoredFactor& reading_b) const;

 private:
  struct Group;
  struct Tried;
  std::optional<Tried> tried(const StoredFactor& reading_a, const StoredFactor& reading_b) const;
  std::unique_ptr<const Group> group_;
  CircuitRules rules_;
};

}  // namespace attnsym
