#include "verify/checker/gauge_trial.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <variant>

#include "verify/block_matrices.hpp"
#include "verify/checker/alignment.hpp"
#include "verify/checker/error_spread.hpp"
#include "verify/rounding_law.hpp"
#include "verify/storage_error.hpp"

namespace attnsym {
namespace {

// Entries of a factor as squares, of values and of errors, and their sums over rows.
struct SquaredFactor {
  Matrix<double> values;
  Matrix<double> errors;
  RowVector<double> value_sums;
  RowVector<double> error_sums;

  template <class M>
  SquaredFactor(const M& value, const M& radius)
      : values(value.cwiseAbs2()),
        errors(radius.cwiseAbs2() / 3),
        value_sums(values.colwise().sum()),
        error_sums(errors.colwise().sum()) {}

  double norm() const { return std::sqrt(value_sums.sum()); }
  double unit() const { return stored_unit(norm(), std::sqrt(3 * error_sums.sum())); }

  // [N7] Row by row of `this other^*`.
  RowVector<double> variances(const SquaredFactor& other) const {
    return (errors * other.value_sums.transpose() + values * other.error_sums.transpose()).transpose();
  }
};

// Products of operands of one type, so that they are compiled once.
template <class M>
M product(const M& x, const M& y) {
  return x * y;
}

// x^* y.
template <class M>
M adjoint_product(const M& x, const M& y) {
  return x.adjoint() * y;
}

// Re(x_p G y_p^*) for every row p; some rows at a time, which stay in the cache. Rotary pairs are one column.
template <class M>
RowVector<double> row_forms(const M& x, const M& gram, const M& y) {
  constexpr Index at_once = 128;
  if (x.cols() == 1) return (x.col(0).array() * y.col(0).array().conjugate() * gram(0, 0)).real().transpose();
  RowVector<double> forms(x.rows());
  M moved(std::min(at_once, x.rows()), x.cols());
  for (Index first = 0; first < x.rows(); first += at_once) {
    const Index rows = std::min(at_once, x.rows() - first);
    auto some = moved.topRows(rows);
    some.noalias() = x.middleRows(first, rows) * gram;
    forms.segment(first, rows) =
        some.cwiseProduct(y.middleRows(first, rows).conjugate()).real().rowwise().sum().transpose();
  }
  return forms;
}

template <class M>
double trace_of_product(const M& x, const M& y) {
  return std::real(x.cwiseProduct(y.transpose()).sum());
}

// |x y^*| from Gram matrices; rounding may leave a zero negative.
template <class M>
double product_norm(const M& x_gram, const M& y_gram) {
  return std::sqrt(std::max(trace_of_product<M>(x_gram, y_gram), 0.0));
}

// What does not depend on the reader, in one block: W_a, W_b, E and their Gram matrices.
template <class M>
struct Written {
  GaugeBlock block;
  double factor;
  M a, b, off;
  M linear, back;  // L and conj(L)^-1
  M aa, ao, oo, bb;
  SquaredFactor a_squares, b_squares;

  Written(const StoredFactor& stored_a, const StoredFactor& stored_b, const GeneralLinear<double>& gauge,
          GaugeBlock of_block, double times)
      : block(std::move(of_block)),
        factor(times),
        a(columns_of<M>(stored_a.value, block)),
        b(columns_of<M>(stored_b.value, block)),
        linear(matrix_of<M>(gauge.matrix(), block)),
        back(matrix_of<M>(gauge.inverse_matrix(), block).conjugate()),
        a_squares(a, columns_of<M>(stored_a.radius, block)),
        b_squares(b, columns_of<M>(stored_b.radius, block)) {
    off = product<M>(a, linear.transpose()) - b;
    aa = adjoint_product(a, a);
    ao = adjoint_product(a, off);
    oo = adjoint_product(off, off);
    bb = adjoint_product(b, b);
  }
};

// One reader's factors in one block: R_b and P and their Gram matrices.
template <class M>
struct Reading {
  M b, off;
  M oo, ob, bb;
  SquaredFactor a_squares, b_squares;
  double a_norm;

  Reading(const StoredFactor& stored_a, const StoredFactor& stored_b, const Written<M>& written)
      : Reading(columns_of<M>(stored_a.value, written.block), columns_of<M>(stored_b.value, written.block),
                columns_of<M>(stored_a.radius, written.block), columns_of<M>(stored_b.radius, written.block),
                written.linear) {}

 private:
  Reading(const M& a, M of_b, const M& a_radius, const M& b_radius, const M& linear)
      : b(std::move(of_b)),
        off(a - product<M>(b, linear.conjugate())),
        oo(adjoint_product(off, off)),
        ob(adjoint_product(off, b)),
        bb(adjoint_product(b, b)),
        a_squares(a, a_radius),
        b_squares(b, b_radius),
        a_norm(a.norm()) {}
};

// What the difference and its two parts add up to, how errors of rows and columns spread in either module,
// and how coarsely the factors are stored.
struct Sums {
  ComparisonSum difference{0};
  ComparisonSum written{0};
  ComparisonSum reading{0};
  ErrorSpread rows_a, rows_b, columns_a, columns_b;
  RowVector<double> row_variances, column_variances;
  double unit = 0;
  double lost = 0;  // by computing

  AlignmentNoise row_noise(Index width) const {
    return {.own = rows_a.largest() + rows_b.largest(),
            .largest_row = row_variances.maxCoeff(),
            .all_rows = row_variances.sum(),
            .other = misfit(columns_a.largest() + columns_b.largest(), width, column_variances)};
  }

  AlignmentNoise column_noise(Index width) const {
    return {.own = columns_a.largest() + columns_b.largest(),
            .largest_row = column_variances.maxCoeff(),
            .all_rows = column_variances.sum(),
            .other = misfit(rows_a.largest() + rows_b.largest(), width, row_variances)};
  }

  CircuitComparison result(const ComparisonSum& sum, Index width, double surprise) const {
    CircuitComparison compared = sum.result(width, unit);
    const auto own = [&](const ErrorSpread& x, const ErrorSpread& y) {
      const double chance = chance_limit(share_squares(x, y), largest_share(x, y), surprise, 0);
      return limit_with_arithmetic(chance, compared.limit / 2);
    };
    compared.row_limit = own(rows_a, rows_b);
    compared.column_limit = own(columns_a, columns_b);
    return compared;
  }
};

DifferenceSquares times_square(DifferenceSquares squares, double factor) {
  const double square = factor * factor;
  squares.rows *= square;
  squares.columns *= square;
  squares.row_variances *= square;
  squares.column_variances *= square;
  squares.norm_a *= std::abs(factor);
  squares.norm_b *= std::abs(factor);
  squares.error *= std::abs(factor);
  return squares;
}

// [N4] From computing E, P and their products, and the squares from Gram matrices.
template <class M>
double computing_error(const Written<M>& w, const Reading<M>& r) {
  const auto operations = static_cast<double>(20 * w.linear.rows() * (w.a.rows() + r.b.rows()));
  const double gamma = std::numeric_limits<double>::epsilon() * operations;
  const double a_norm = w.a_squares.norm();
  const double gauge = w.linear.norm();
  const double factors = (a_norm * gauge + w.b_squares.norm()) * r.b_squares.norm() +
                         (r.a_norm + r.b_squares.norm() * gauge) * a_norm;
  const double parts = product_norm<M>(r.oo, w.aa) + product_norm<M>(r.bb, w.oo);
  return 2 * gamma * factors + std::sqrt(gamma) * parts;
}

// [N4] What of the difference computing may have lost: |E| and |P| by rounding of n products each, and
// squares by rounding of Gram matrices, where large E and P could cancel.
template <class M>
double lost_by_computing(const Written<M>& w, const Reading<M>& r) {
  constexpr double eps = std::numeric_limits<double>::epsilon();
  const Eigen::VectorXd w_a = w.a_squares.value_sums.cwiseSqrt().transpose();
  const Eigen::VectorXd w_b = w.b_squares.value_sums.cwiseSqrt().transpose();
  const Eigen::VectorXd r_a = r.a_squares.value_sums.cwiseSqrt().transpose();
  const Eigen::VectorXd r_b = r.b_squares.value_sums.cwiseSqrt().transpose();
  const double products = 2 * r_b.dot(w.linear.cwiseAbs() * w_a) + r_b.dot(w_b) + r_a.dot(w_a);
  const double parts = r.off.norm() * w_a.norm() + r_b.norm() * w.off.norm();
  const auto inner = static_cast<double>(4 * (w.linear.rows() + 2));
  const auto outer = static_cast<double>(4 * (w.a.rows() + r.b.rows() + 4 * w.linear.rows()));
  return eps * inner * products + std::sqrt(eps * outer) * parts;
}

void add_to(RowVector<double>& sum, const RowVector<double>& term) {
  if (sum.size() == 0) sum = RowVector<double>::Zero(term.size());
  sum += term;
}

template <class M>
void add(Sums& sums, const Written<M>& w, const Reading<M>& r) {
  const RowVector<double> row_variances =
      r.a_squares.variances(w.a_squares) + r.b_squares.variances(w.b_squares);
  const RowVector<double> column_variances =
      w.a_squares.variances(r.a_squares) + w.b_squares.variances(r.b_squares);
  const auto squares = [&](const RowVector<double>& rows, const RowVector<double>& columns) {
    return DifferenceSquares{rows.cwiseMax(0.0), columns.cwiseMax(0.0), row_variances, column_variances};
  };
  const RowVector<double> written_rows = row_forms<M>(r.b, w.oo, r.b);
  const RowVector<double> written_columns = row_forms<M>(w.off, r.bb, w.off);
  sums.written.add(times_square(squares(written_rows, written_columns), w.factor));

  const M moved = product<M>(product(w.back, w.bb), w.back.adjoint());
  const M moved_back = product(adjoint_product(w.back, r.oo), w.back);
  sums.reading.add(
      times_square(squares(row_forms<M>(r.off, moved, r.off), row_forms<M>(w.b, moved_back, w.b)), w.factor));

  DifferenceSquares all =
      squares(row_forms<M>(r.off, w.aa, r.off) + 2 * row_forms<M>(r.off, w.ao, r.b) + written_rows,
              row_forms<M>(w.a, r.oo, w.a) + 2 * row_forms<M>(w.a, r.ob, w.off) + written_columns);
  const M linear = w.linear.conjugate();
  const M mixed = product(r.ob, linear);
  const M a_gram = r.oo + mixed + mixed.adjoint() + product(adjoint_product(linear, r.bb), linear);
  const double square = w.factor * w.factor;
  add_to(sums.row_variances, square * row_variances);
  add_to(sums.column_variances, square * column_variances);
  sums.rows_a.add<M>(w.aa, square * r.a_squares.error_sums);
  sums.rows_b.add<M>(w.bb, square * r.b_squares.error_sums);
  sums.columns_a.add<M>(a_gram, square * w.a_squares.error_sums);
  sums.columns_b.add<M>(r.bb, square * w.b_squares.error_sums);
  all.norm_a = product_norm<M>(a_gram, w.aa);
  all.norm_b = product_norm<M>(r.bb, w.bb);
  all.error = computing_error(w, r);
  sums.difference.add(times_square(std::move(all), w.factor));
  sums.lost += std::abs(w.factor) * lost_by_computing(w, r);
  sums.unit =
      std::max({sums.unit, w.a_squares.unit(), w.b_squares.unit(), r.a_squares.unit(), r.b_squares.unit()});
}

// Calls visit(written, reading) for all blocks.
template <class Blocks, class Readings, class Visit>
void for_each_block(const Blocks& blocks, const Readings& readings, const Visit& visit) {
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    std::visit([&]<class M>(const Written<M>& written) { visit(written, std::get<Reading<M>>(readings[i])); },
               blocks[i]);
  }
}

// The largest singular values of P W_a^*, and of E R_b^*.
struct SeenAlignment {
  double rows;
  double columns;
};

template <class Blocks, class Readings>
SeenAlignment seen_alignment(const Blocks& blocks, const Readings& readings) {
  if (blocks.size() == 1 && std::holds_alternative<Written<Matrix<double>>>(blocks.front())) {
    const auto& w = std::get<Written<Matrix<double>>>(blocks.front());
    const auto& r = std::get<Reading<Matrix<double>>>(readings.front());
    const double factor = std::abs(w.factor);
    return {factor * alignment_of_grams(r.oo, w.aa), factor * alignment_of_grams(w.oo, r.bb)};
  }
  Alignment rows;
  Alignment columns;
  for_each_block(blocks, readings, [&]<class M>(const Written<M>& w, const Reading<M>& r) {
    rows.begin<M>(r.off, w.aa);
    columns.begin<M>(w.off, r.bb);
  });
  for (int step = 0; step < Alignment::steps; ++step) {
    rows.step();
    columns.step();
    for_each_block(blocks, readings, [&]<class M>(const Written<M>& w, const Reading<M>& r) {
      const double square = w.factor * w.factor;
      rows.apply<M>(r.off, square * w.aa);
      columns.apply<M>(w.off, square * r.bb);
    });
  }
  rows.step();
  columns.step();
  return {rows.seen(), columns.seen()};
}

// Fourth powers stay in the range of double, and no difference that counts vanishes.
bool is_in_range(const StoredFactor& factor) {
  const double largest = factor.value.size() > 0 ? factor.value.cwiseAbs().maxCoeff() : 0;
  return largest == 0 || (largest > 1e-40 && largest < 1e40);
}

}  // namespace

struct GaugeTrial::Group {
  std::vector<std::variant<Written<Matrix<double>>, Written<ComplexMatrix>>> blocks;
  Index width;
  bool in_range;
};

GaugeTrial::GaugeTrial(const StoredFactor& written_a, const StoredFactor& written_b,
                       const GeneralLinear<double>& linear, const std::vector<GaugeBlock>& blocks,
                       const std::vector<double>& factors, const CircuitRules& rules)
    : rules_(rules) {
  auto group = std::make_unique<Group>();
  group->width = linear.size();
  group->in_range = is_in_range(written_a) && is_in_range(written_b);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (blocks[i].is_complex()) {
      group->blocks.emplace_back(Written<ComplexMatrix>(written_a, written_b, linear, blocks[i], factors[i]));
    } else {
      group->blocks.emplace_back(
          Written<Matrix<double>>(written_a, written_b, linear, blocks[i], factors[i]));
    }
  }
  group_ = std::move(group);
}

struct GaugeTrial::Tried {
  CircuitComparison comparison;
  double lost;
};

GaugeTrial::GaugeTrial(GaugeTrial&&) noexcept = default;
GaugeTrial::~GaugeTrial() = default;

std::optional<CircuitComparison> GaugeTrial::compare(const StoredFactor& reading_a,
                                                     const StoredFactor& reading_b) const {
  const auto result = tried(reading_a, reading_b);
  return result ? std::optional(result->comparison) : std::nullopt;
}

bool GaugeTrial::holds(const StoredFactor& reading_a, const StoredFactor& reading_b) const {
  const auto result = tried(reading_a, reading_b);
  return result && result->lost <= result->comparison.noise;
}

std::optional<GaugeTrial::Tried> GaugeTrial::tried(const StoredFactor& reading_a,
                                                   const StoredFactor& reading_b) const {
  if (!group_->in_range || !is_in_range(reading_a) || !is_in_range(reading_b)) return std::nullopt;
  std::vector<std::variant<Reading<Matrix<double>>, Reading<ComplexMatrix>>> readings;
  for (const auto& block : group_->blocks) {
    std::visit(
        [&]<class M>(const Written<M>& w) { readings.emplace_back(Reading<M>(reading_a, reading_b, w)); },
        block);
  }
  Sums sums;
  for_each_block(group_->blocks, readings, [&](const auto& w, const auto& r) { add(sums, w, r); });
  const double surprise = surprise_of(rules_.lines);
  for (const ComparisonSum* part : {&sums.written, &sums.reading}) {
    if (!sums.result(*part, group_->width, surprise).explained_by_rounding()) return std::nullopt;
  }
  const CircuitComparison whole = sums.result(sums.difference, group_->width, surprise);
  if (!whole.explained_by_rounding()) return std::nullopt;
  const Tried result{whole, sums.lost};
  if (!rules_.independent) return result;
  const double room = whole.limit / 2;
  const SeenAlignment seen = seen_alignment(group_->blocks, readings);
  const bool unaligned = seen.rows <= room * alignment_limit(sums.row_noise(group_->width), surprise) &&
                         seen.columns <= room * alignment_limit(sums.column_noise(group_->width), surprise);
  return unaligned ? std::optional(result) : std::nullopt;
}

}  // namespace attnsym
