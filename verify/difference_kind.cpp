#include "verify/difference_kind.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>

#include "symmetry/matrix_products.hpp"
#include "symmetry/random.hpp"
#include "symmetry/svd.hpp"
#include "verify/slips/projections.hpp"

namespace attnsym {
namespace {

constexpr double few = 0.01;        // of all numbers
constexpr double few_by_count = 3;  // of a matrix that has not so many
constexpr double most = 0.99;       // of all numbers have to be as a kind says
constexpr double unrelated = 0.7;   // relative; 1.4 for independent matrices
constexpr Index largest_rank = 64;  // what still counts as low
constexpr Index block_size = 32;    // of quantised files

// Significant bits of a number.
int significant_bits(double number) {
  constexpr std::uint64_t implied = std::uint64_t{1} << 52;
  const auto bits = std::bit_cast<std::uint64_t>(number);
  const std::uint64_t fraction = bits & (implied - 1);
  const bool is_normal = std::abs(number) >= std::numeric_limits<double>::min();
  const std::uint64_t mantissa = is_normal ? fraction | implied : fraction;
  return mantissa == 0 ? 0 : static_cast<int>(std::bit_width(mantissa)) - std::countr_zero(mantissa);
}

int significant_bits(const Matrix<double>& numbers) {
  int bits = 0;
  for (Index i = 0; i < numbers.size(); ++i) bits = std::max(bits, significant_bits(numbers.data()[i]));
  return bits;
}

// Whether something holds of so many of `count` numbers that a kind may be said of them.
template <class Holds>
bool holds_of_most(Index count, Holds holds) {
  auto exceptions = static_cast<Index>((1 - most) * static_cast<double>(count));
  for (Index i = 0; i < count && exceptions >= 0; ++i) exceptions -= holds(i) ? 0 : 1;
  return exceptions >= 0;
}

// Whether `coarse` is `fine` rounded to `bits` significant bits.
bool is_rounded(const Matrix<double>& fine, const Matrix<double>& coarse, int bits) {
  return holds_of_most(fine.size(), [&](Index i) {
    int exponent = 0;
    std::frexp(fine.data()[i], &exponent);
    return std::abs(coarse.data()[i] - fine.data()[i]) <= std::ldexp(1.0, exponent - bits - 1) * 1.0001;
  });
}

// The bits of a grid k * step, |k| < 2^(bits - 1), on which nearly all blocks of a column lie, or 0. A block
// of 32 numbers with at most 16 values is on one of 4 bits, evenly spaced or not.
int grid_bits(const Matrix<double>& numbers) {
  const Index rows = numbers.rows() / block_size * block_size;
  if (rows == 0) return 0;
  Index blocks = 0;
  Index of_four = 0;
  Index of_eight = 0;
  for (Index column = 0; column < numbers.cols(); ++column) {
    for (Index row = 0; row < rows; row += block_size) {
      const auto block = numbers.col(column).segment(row, block_size);
      const std::set<double> values(block.begin(), block.end());
      const double step = block.cwiseAbs().maxCoeff() / 127;
      const auto steps = (block / (step > 0 ? step : 1)).array();
      ++blocks;
      of_four += values.size() <= 16 ? 1 : 0;
      of_eight += ((steps - steps.round()).abs() < 0.01).all() ? 1 : 0;
    }
  }
  if (static_cast<double>(of_four) > most * static_cast<double>(blocks)) return 4;
  return static_cast<double>(of_eight) > most * static_cast<double>(blocks) ? 8 : 0;
}

// What a matrix of this rank cannot come closer to, as a square: the least that is left of a part of the
// difference, some of its rows and columns, is no more than what is left of all of it.
double left_of_a_part(const Matrix<double>& difference, Index rank) {
  const auto some = [rank](Index all) {
    const Index step = std::max<Index>(1, all / (2 * rank));
    return Eigen::seqN(0, std::min(2 * rank, all), step);
  };
  const RowVector<double> sigma =
      singular_values(difference(some(difference.rows()), some(difference.cols())));
  return sigma.tail(sigma.size() - rank).squaredNorm();
}

// The least rank that leaves of the difference no more than rounding, or 0 if it is not low. The range of the
// difference is found by random probes.
// @param noise  Frobenius norm of what rounding may have added
Index low_rank(const Matrix<double>& difference, double noise) {
  const Index smaller = std::min(difference.rows(), difference.cols());
  const Index limit = std::min(largest_rank, smaller / 4);
  const double allowed = 4 * noise * noise + 1e-12 * difference.squaredNorm();
  if (limit == 0 || left_of_a_part(difference, limit) > allowed) return 0;
  const Matrix<double> probe =
      fixed_probe<double>(difference.cols(), std::min(2 * limit, smaller), 0x72616e6b);
  const Matrix<double> probed = multiply(difference, multiply_tn(difference, multiply(difference, probe)));
  const Eigen::HouseholderQR<Matrix<double>> qr(probed);
  const Matrix<double> range = qr.householderQ() * Matrix<double>::Identity(probed.rows(), probed.cols());
  const Eigen::HouseholderQR<Matrix<double>> across(multiply_tn(difference, range));
  const RowVector<double> sigma =
      singular_values(across.matrixQR().topRows(range.cols()).triangularView<Eigen::Upper>());
  double left = difference.squaredNorm();
  for (Index rank = 0; rank <= limit; ++rank) {
    if (left <= allowed) return rank;
    if (rank < sigma.size()) left -= sigma(rank) * sigma(rank);
  }
  return 0;
}

// Of the weights of a projection, biases left out.
double squared_norm(const AttentionWeights<double>& weights, Projection which) {
  double sum = 0;
  for (const KvGroup<double>& group : weights.groups) {
    if (which == Projection::Key) sum += group.key.squaredNorm();
    if (which == Projection::Value) sum += group.value.squaredNorm();
    for (const QueryHead<double>& reader : group.readers) {
      if (which == Projection::Query) sum += reader.query.squaredNorm();
      if (which == Projection::Output) sum += reader.output.squaredNorm();
    }
  }
  return sum;
}

void find_kind(MatrixDifference& result, const Matrix<double>& a, const Matrix<double>& b,
               const Matrix<double>& difference, double noise) {
  const auto is = [&](DifferenceKind kind, Index detail = 0) {
    result.kind = kind;
    result.detail = detail;
  };
  if (result.changed == 0) return is(DifferenceKind::None);
  const auto size = static_cast<double>(a.size());
  if (result.changed * size <= std::max(few * size, few_by_count + 0.5))
    return is(DifferenceKind::FewEntries);
  const int bits_a = significant_bits(a);
  const int bits_b = significant_bits(b);
  const bool b_is_coarse = bits_b <= bits_a;
  const Matrix<double>& coarse = b_is_coarse ? b : a;
  const Matrix<double>& fine = b_is_coarse ? a : b;
  if (is_rounded(fine, coarse, std::min(bits_a, bits_b)))
    return is(DifferenceKind::Rounding, std::min(bits_a, bits_b));
  for (const Matrix<double>* one : {&b, &a}) {
    if (!(result.relative < unrelated)) break;
    if (const int bits = grid_bits(*one); bits > 0) return is(DifferenceKind::Quantisation, bits);
  }
  if (const Index rank = low_rank(difference, noise)) return is(DifferenceKind::LowRank, rank);
  is(result.relative < unrelated ? DifferenceKind::Dense : DifferenceKind::Unrelated);
}

}  // namespace

MatrixDifference matrix_difference(const Matrix<double>& a, const Matrix<double>& b, double noise) {
  MatrixDifference result;
  const Matrix<double> difference = b - a;
  const double size = a.norm();
  result.relative = size > 0 ? difference.norm() / size : b.norm() > 0 ? 1 : 0;
  const Index changed = (a.array() != b.array()).count();
  result.changed = static_cast<double>(changed) / static_cast<double>(std::max<Index>(1, a.size()));
  find_kind(result, a, b, difference, noise);
  return result;
}

std::vector<ProjectionDifference> projection_differences(const StoredAttention& a, const StoredAttention& b) {
  Projections of_a = projections_of(a.weights, a.config);
  Projections of_b = projections_of(b.weights, b.config);
  std::vector<ProjectionDifference> result;
  for (const Projection one : {Projection::Query, Projection::Key, Projection::Value, Projection::Output}) {
    // A row of the file is all that makes one number of an output, and all that is read for one of the
    // others.
    const auto rows_of_the_file = [one](const Matrix<double>& m) {
      return Matrix<double>(one == Projection::Output ? Matrix<double>(m.transpose())
                                                      : m.topRows(m.rows() - 1));  // but for biases
    };
    const double noise = std::sqrt((squared_norm(a.radius, one) + squared_norm(b.radius, one)) / 3);
    result.push_back(
        {matrix_difference(rows_of_the_file(of_a.at(one)), rows_of_the_file(of_b.at(one)), noise), one});
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const auto& x, const auto& y) { return x.relative > y.relative; });
  return result;
}

std::string describe(const MatrixDifference& difference) {
  const std::string detail = std::to_string(difference.detail);
  switch (difference.kind) {
    case DifferenceKind::None:
      return "equal";
    case DifferenceKind::FewEntries:
      return "a few entries";
    case DifferenceKind::Rounding:
      return "rounding to " + detail + " significant bits";
    case DifferenceKind::Quantisation:
      return "quantisation to " + detail + " bits in blocks";
    case DifferenceKind::LowRank:
      return "a change of rank " + detail + ", as merged adapters (LoRA) leave it";
    case DifferenceKind::Dense:
      return "a dense change, as full fine-tuning leaves it";
    case DifferenceKind::Unrelated:
      break;
  }
  return "other weights, or another basis";
}

}  // namespace attnsym
