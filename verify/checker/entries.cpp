#include "verify/checker/entries.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>

#include "symmetry/errors.hpp"
#include "symmetry/random.hpp"
#include "verify/comparison.hpp"

namespace attnsym {
namespace {

constexpr Index probe_count = 2;
constexpr std::uint64_t probe_salt = 0x616c69676e;

// Sums of squares, and of their squares, of numbers in this range are accurate; beyond it they are scaled.
bool is_in_range(double sum_of_squares) { return sum_of_squares > 1e-120 && sum_of_squares < 1e120; }

int exponent_of(double largest) { return largest > 0 && std::isfinite(largest) ? std::ilogb(largest) : 0; }

}  // namespace

double EntryComparison::largest_ratio() const {
  if (std::isnan(ratio) || std::isnan(row_ratio) || std::isnan(column_ratio) || std::isnan(aligned))
    return std::nan("");
  return std::max({ratio, row_ratio, column_ratio, aligned * limit});
}

bool EntryComparison::agrees() const {
  return largest_ratio() <= limit && (is_exact || hidden <= coarsest_resolution);
}

EntryComparison worse(const EntryComparison& x, const EntryComparison& y) {
  const auto weight = [](const EntryComparison& c) {
    const double largest = c.largest_ratio() / c.limit;
    return std::isnan(largest) ? std::numeric_limits<double>::infinity() : largest;
  };
  EntryComparison result = weight(y) > weight(x) ? y : x;
  result.resolution = std::max(x.resolution, y.resolution);
  result.hidden = std::max(x.hidden, y.hidden);
  result.is_exact = x.is_exact && y.is_exact;
  return result;
}

void EntrySums::Line::rescale(int to) {
  const double factor = std::ldexp(1.0, 2 * (exponent - to));
  squares *= factor;
  variances.sum *= factor;
  variances.squares *= factor * factor;
  variances.largest *= factor;
  exponent = to;
}

void EntrySums::Line::add(Line other) {
  const auto is_empty = [](const Line& line) { return line.squares == 0 && line.variances.sum == 0; };
  if (is_empty(other)) return;
  if (is_empty(*this)) exponent = other.exponent;
  const int common = std::max(exponent, other.exponent);
  if (exponent != common) rescale(common);
  if (other.exponent != common) other.rescale(common);
  squares += other.squares;
  variances.sum += other.variances.sum;
  variances.squares += other.variances.squares;
  variances.largest = std::max(variances.largest, other.variances.largest);
}

double EntrySums::Line::ratio(const EntryRules& rules, double allowance) const {
  const double chance = chance_limit(variances, rules.surprise, rules.sources);
  return attnsym::ratio(std::sqrt(squares), variances.sum) * 2 * allowance /
         limit_with_arithmetic(chance, allowance);
}

namespace {

// One line by itself, scaled where its squares would leave the range of double.
template <class Line>
Line scaled_line(const Eigen::ArrayXd& difference, const Eigen::ArrayXd& radius_a,
                 const Eigen::ArrayXd& radius_b) {
  const double largest = std::max({difference.abs().maxCoeff(), radius_a.maxCoeff(), radius_b.maxCoeff()});
  Line line;
  line.exponent = exponent_of(largest);
  const auto scaled = [&](const Eigen::ArrayXd& numbers) -> Eigen::ArrayXd {
    // In two steps: one power alone may be out of range.
    const int half = line.exponent / 2;
    return numbers * std::ldexp(1.0, -half) * std::ldexp(1.0, half - line.exponent);
  };
  const Eigen::ArrayXd variance = (scaled(radius_a).square() + scaled(radius_b).square()) / 3;
  line.squares = scaled(difference).square().sum();
  line.variances = {variance.sum(), variance.square().sum(), variance.maxCoeff()};
  return line;
}

}  // namespace

namespace {

// Numbers that are worked on together: as many as fit a register, or what is left of a column one by one.
template <int N>
using Lane = Eigen::Array<double, N, 1>;
constexpr int lane_width = 8;

// Where the numbers of one column of a chunk begin, and the sums by row that they are added to.
struct Strip {
  const double* a;
  const double* b;
  const double* radius_a;
  const double* radius_b;
  double* squares;
  double* radii;  // squares of both
};

// What a column adds up to: squares of what Strip names.
template <int N>
struct ColumnSums {
  Lane<N> difference = Lane<N>::Zero();
  Lane<N> a = difference;
  Lane<N> b = difference;
  Lane<N> radius_a = difference;
  Lane<N> radius_b = difference;
};

// `probe(i, apart)` sees the differences of rows i to i + N.
template <int N, class Probe>
void add_lane(const Strip& strip, Index i, ColumnSums<N>& sums, Probe probe) {
  using In = Eigen::Map<const Lane<N>>;
  using Out = Eigen::Map<Lane<N>>;
  const Lane<N> a = In(strip.a + i);
  const Lane<N> b = In(strip.b + i);
  const Lane<N> radius_a = In(strip.radius_a + i).square();
  const Lane<N> radius_b = In(strip.radius_b + i).square();
  const Lane<N> apart = a - b;
  const Lane<N> squares = apart.square();
  Out(strip.squares + i) += squares;
  Out(strip.radii + i) += radius_a + radius_b;
  sums.difference += squares;
  sums.a += a.square();
  sums.b += b.square();
  sums.radius_a += radius_a;
  sums.radius_b += radius_b;
  probe(i, apart);
}

// In one pass, because reading the numbers costs most.
template <class Probe>
ColumnSums<1> add_column(const Strip& strip, Index height, Probe probe) {
  ColumnSums<lane_width> lanes;
  ColumnSums<1> sums;
  Index i = 0;
  for (; i + lane_width <= height; i += lane_width) add_lane(strip, i, lanes, probe);
  for (; i < height; ++i) add_lane(strip, i, sums, probe);
  sums.difference += lanes.difference.sum();
  sums.a += lanes.a.sum();
  sums.b += lanes.b.sum();
  sums.radius_a += lanes.radius_a.sum();
  sums.radius_b += lanes.radius_b.sum();
  return sums;
}

// As add_column; adds column k of the difference, or of its transpose, times the probes to `once`.
ColumnSums<1> add_probed_column(const Strip& strip, Index k, Index height, const Matrix<double>& probes,
                                bool by_rows, Matrix<double>& once) {
  static_assert(probe_count == 2);
  const double* const probe = probes.data();
  const Index length = probes.rows();
  if (by_rows) {
    return add_column(strip, height, [&](Index i, const auto& apart) {
      using L = std::remove_cvref_t<decltype(apart)>;
      Eigen::Map<L>(&once(i, 0)) += probe[k] * apart;
      Eigen::Map<L>(&once(i, 1)) += probe[length + k] * apart;
    });
  }
  return add_column(strip, height, [&](Index i, const auto& apart) {
    using L = std::remove_cvref_t<decltype(apart)>;
    once(k, 0) += (Eigen::Map<const L>(probe + i) * apart).sum();
    once(k, 1) += (Eigen::Map<const L>(probe + length + i) * apart).sum();
  });
}

}  // namespace

// Column by column, as the numbers lie in memory; lines out of range once more by themselves.
EntrySums::Chunk::Chunk(const StoredMatrix& of_a, const StoredMatrix& of_b, const Matrix<double>& probes,
                        bool in_rows, bool in_detail)
    : a(of_a),
      b(of_b),
      by_rows(in_rows),
      detailed(in_detail),
      rows(static_cast<std::size_t>(a.value.rows())),
      columns(static_cast<std::size_t>(a.value.cols())) {
  const Index height = a.value.rows();
  const Index width = a.value.cols();
  if (probes.size() > 0) once = Matrix<double>::Zero(by_rows ? height : width, probes.cols());
  Eigen::ArrayXd squares = Eigen::ArrayXd::Zero(height);
  Eigen::ArrayXd radii = squares;
  Eigen::ArrayXd variance_squares = squares;
  Eigen::ArrayXd variance_largest = squares;
  for (Index k = 0; k < width; ++k) {
    const Strip strip{&a.value(0, k),  &b.value(0, k), &a.radius(0, k),
                      &b.radius(0, k), squares.data(), radii.data()};
    const ColumnSums<1> sums = once.size() > 0 ? add_probed_column(strip, k, height, probes, by_rows, once)
                                               : add_column(strip, height, [](Index, const auto&) {});
    size_a.squares += sums.a.value();
    size_b.squares += sums.b.value();
    size_a.variances.sum += sums.radius_a.value();
    size_b.variances.sum += sums.radius_b.value();
    const double sum = (sums.radius_a.value() + sums.radius_b.value()) / 3;
    Line& line = columns[static_cast<std::size_t>(k)];
    line.squares = sums.difference.value();
    line.variances = {sum, sum * sum, sum};  // at most
    if (detailed) {
      const Eigen::ArrayXd v = variance(k);
      variance_squares += v.square();
      variance_largest = variance_largest.max(v);
      line.variances = {sum, v.square().sum(), v.maxCoeff()};
    }
    if (!is_in_range(sum) || !std::isfinite(line.squares)) line = column_by_itself(k);
  }
  for (Index i = 0; i < height; ++i) {
    Line& line = rows[static_cast<std::size_t>(i)];
    const double sum = radii(i) / 3;
    line = {squares(i), {sum, sum * sum, sum}};
    if (detailed) line.variances = {sum, variance_squares(i), variance_largest(i)};
    if (!is_in_range(sum) || !std::isfinite(line.squares)) line = row_by_itself(i);
  }
  const auto rescaled = [](Line& size, const StoredMatrix& m) {
    if (is_in_range(size.squares)) return;
    size.exponent = exponent_of(m.value.cwiseAbs().maxCoeff());
    const double half = std::ldexp(1.0, -(size.exponent / 2));
    const double rest = std::ldexp(1.0, size.exponent / 2 - size.exponent);
    size.squares = (m.value * half * rest).squaredNorm();
    size.variances.sum = (m.radius * half * rest).squaredNorm();
  };
  rescaled(size_a, a);
  rescaled(size_b, b);
}

EntrySums::Line EntrySums::Chunk::row_by_itself(Index i) const {
  return scaled_line<Line>((a.value.row(i) - b.value.row(i)).transpose().array(),
                           a.radius.row(i).transpose().array(), b.radius.row(i).transpose().array());
}

EntrySums::Line EntrySums::Chunk::column_by_itself(Index k) const {
  return scaled_line<Line>(difference(k), a.radius.col(k).array(), b.radius.col(k).array());
}

EntrySums::Line EntrySums::Chunk::in_detail(std::size_t line) const {
  const auto at = static_cast<Index>(line);
  return by_rows ? row_by_itself(at) : column_by_itself(at);
}

Eigen::ArrayXd EntrySums::Chunk::difference(Index column) const {
  return a.value.col(column).array() - b.value.col(column).array();
}

Eigen::ArrayXd EntrySums::Chunk::variance(Index column) const {
  return (a.radius.col(column).array().square() + b.radius.col(column).array().square()) / 3;
}

void EntrySums::add(const StoredMatrix& a, const StoredMatrix& b) {
  const Index rows = a.value.rows();
  const Index columns = a.value.cols();
  if (rows != b.value.rows() || columns != b.value.cols()) {
    throw ShapeError("matrices of " + std::to_string(rows) + " x " + std::to_string(columns) + " and " +
                     std::to_string(b.value.rows()) + " x " + std::to_string(b.value.cols()) +
                     " cannot be compared");
  }
  if (a.value.size() == 0) return;
  const bool by_rows = chunks_ == Chunks::Rows;
  if (rules_.independent && probes_.size() == 0)
    probes_ = fixed_probe<double>(by_rows ? columns : rows, probe_count, probe_salt);
  const bool in_detail = chunk_count_ < 16 || chunk_count_ % 8 == 0;
  const Chunk chunk(a, b, probes_, by_rows, in_detail);
  ++chunk_count_;
  for (const Line& line : chunk.columns) differs_ = differs_ || line.squares != 0;
  // Squares may vanish where differences do not.
  differs_ = differs_ || (a.value.array() != b.value.array()).any();
  size_a_.add(chunk.size_a);
  size_b_.add(chunk.size_b);
  note_whole(chunk);
  note_open(chunk.open());
  if (rules_.independent) note_alignment(chunk);
}

// Lines whose variances are not known in detail have at least the limit 2.
void EntrySums::note_whole(const Chunk& chunk) {
  const double room = allowance();
  const std::vector<Line>& lines = chunk.whole();
  for (std::size_t k = 0; k < lines.size(); ++k) {
    total_.add(lines[k]);
    const double plain = attnsym::ratio(std::sqrt(lines[k].squares), lines[k].variances.sum);
    const double r = chunk.detailed      ? lines[k].ratio(rules_, room)
                     : plain <= 2 * room ? plain
                                         : chunk.in_detail(k).ratio(rules_, room);
    if (r <= whole_ratio_ || std::isnan(whole_ratio_)) continue;
    whole_ratio_ = r;
    whole_place_ = whole_count_ + static_cast<Index>(k);
  }
  whole_count_ += static_cast<Index>(lines.size());
}

void EntrySums::note_open(const std::vector<Line>& lines) {
  if (open_.empty()) open_.resize(lines.size());
  for (std::size_t k = 0; k < lines.size(); ++k) open_[k].add(lines[k]);
}

// By how coarsely the numbers so far are stored.
double EntrySums::allowance() const {
  const auto unit = [](const Line& size) {
    return size.squares > 0 ? std::sqrt(size.variances.sum / size.squares) : 0;
  };
  return arithmetic_allowance(rules_.inner_width, std::max(unit(size_a_), unit(size_b_)), rules_.own_width);
}

bool EntrySums::is_repeated(const RowVector<double>& line) {
  const RowVector<double> seen = line * probes_;
  const auto bits = [&](Index k) { return std::bit_cast<std::uint32_t>(static_cast<float>(seen(k))); };
  return !lines_of_a_.insert(std::uint64_t{bits(0)} << 32U | bits(1)).second;
}

void EntrySums::note_alignment(const Chunk& chunk) {
  const std::vector<Line>& whole = chunk.whole();
  const auto open_count = static_cast<Index>(chunk.open().size());
  if (twice_.size() == 0) {
    twice_ = Matrix<double>::Zero(open_count, probe_count);
    once_squares_ = RowVector<double>::Zero(probe_count);
    open_variances_ = RowVector<double>::Zero(open_count);
  }
  // Lines out of range are too few to have a direction.
  const auto is_scaled = [](const Line& line) { return line.exponent != 0; };
  if (std::ranges::any_of(whole, is_scaled)) return;
  Eigen::VectorXd weight(static_cast<Index>(whole.size()));
  for (Index k = 0; k < weight.size(); ++k) {
    const Line& line = whole[static_cast<std::size_t>(k)];
    weight(k) = line.variances.sum > 0 && line.squares > 0 ? 1 / line.variances.sum : 0;
    if (weight(k) == 0) continue;
    if (rules_.skip_repeated &&
        is_repeated(chunk.by_rows ? RowVector<double>(chunk.a.value.row(k))
                                  : RowVector<double>(chunk.a.value.col(k).transpose())))
      weight(k) = 0;
    if (chunk.detailed) largest_share_ = std::max(largest_share_, line.variances.largest * weight(k));
  }
  if (weight.isZero(0)) return;
  // |W D p|^2 and (W D)^T W D p, with W^2 on the diagonal of `weight`.
  Matrix<double> once = chunk.once;
  once_squares_ += weight.transpose() * once.cwiseAbs2();
  once.array().colwise() *= weight.array();
  for (Index k = 0; k < chunk.a.value.cols(); ++k) {
    const Eigen::ArrayXd difference = chunk.difference(k);
    for (Index p = 0; p < probe_count; ++p) {
      if (chunk.by_rows) {
        twice_(k, p) += (difference * once.col(p).array()).sum();
      } else {
        twice_.col(p).array() += once(k, p) * difference;
      }
    }
  }
  counted_ += (weight.array() > 0).count();
  if (!chunk.detailed) return;
  detailed_count_ += (weight.array() > 0).count();
  for (Index k = 0; k < chunk.a.value.cols(); ++k) {
    const Eigen::ArrayXd variance = chunk.variance(k);
    if (chunk.by_rows) {
      open_variances_(k) += (variance * weight.array()).sum();
    } else {
      open_variances_.array() += weight(k) * variance.transpose();
    }
  }
}

// |X^T X p| / |X p| is at most the largest singular value of X.
double EntrySums::aligned() const {
  if (!rules_.independent || detailed_count_ == 0 || whole_count_ < 2) return 0;
  double seen = 0;
  for (Index k = 0; k < probe_count; ++k) {
    if (once_squares_(k) > 0) seen = std::max(seen, twice_.col(k).norm() / std::sqrt(once_squares_(k)));
  }
  const double all = static_cast<double>(counted_) / static_cast<double>(detailed_count_);
  return seen / singular_value_limit(1, std::sqrt(open_variances_.maxCoeff() * all),
                                     std::sqrt(largest_share_), rules_.surprise);
}

EntryComparison EntrySums::result() const {
  EntryComparison result;
  if (whole_count_ == 0) return result;
  const double room = allowance();
  double open_ratio = 0;
  Index open_place = -1;
  for (std::size_t k = 0; k < open_.size(); ++k) {
    const double r = open_[k].ratio(rules_, room);
    if (r <= open_ratio || std::isnan(open_ratio)) continue;
    open_ratio = r;
    open_place = static_cast<Index>(k);
  }
  const bool by_rows = chunks_ == Chunks::Rows;
  result.row_ratio = by_rows ? whole_ratio_ : open_ratio;
  result.row = by_rows ? whole_place_ : open_place;
  result.column_ratio = by_rows ? open_ratio : whole_ratio_;
  result.column = by_rows ? open_place : whole_place_;
  result.ratio = total_.ratio(rules_, room);
  // As a power of four: sums may be in other units than sizes.
  Line largest = size_a_.exponent == size_b_.exponent
                     ? (size_a_.squares > size_b_.squares ? size_a_ : size_b_)
                     : (size_a_.exponent > size_b_.exponent ? size_a_ : size_b_);
  if (largest.squares > 0)
    result.resolution =
        std::ldexp(std::sqrt(total_.variances.sum / largest.squares), total_.exponent - largest.exponent);
  result.limit = 2 * room;
  result.aligned = aligned() / room;
  result.hidden = result.resolution * room;
  result.is_exact = !differs_;
  return result;
}

EntryComparison compare_entries(const StoredMatrix& a, const StoredMatrix& b, const EntryRules& rules) {
  EntrySums sums(rules);
  sums.add(a, b);
  return sums.result();
}

}  // namespace attnsym
