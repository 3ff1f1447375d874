#include "verify/checker/circuit_claims.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <limits>

#include "verify/checker/alignment.hpp"
#include "verify/checker/error_spread.hpp"
#include "verify/comparison.hpp"
#include "verify/rounding_law.hpp"
#include "verify/stored_unit.hpp"

namespace attnsym {
namespace {

// Sums over the entries of a difference of circuits and of its variance, by row and by column.
struct Squares {
  RowVector<double> rows;
  RowVector<double> columns;
};

// How far a product is from b, and what rounding a and b explains.
struct Judged {
  Squares difference;
  Squares variance;
};

void add(Squares& sum, const Squares& term) {
  if (sum.rows.size() == 0) {
    sum = term;
    return;
  }
  sum.rows += term.rows;
  sum.columns += term.columns;
}

Matrix<double> side_by_side(const Matrix<double>& x, const Matrix<double>& y) {
  Matrix<double> both(x.rows(), x.cols() + y.cols());
  both << x, y;
  return both;
}

// The squares of the rows of L R^T: with R = Q T those of L T^T.
RowVector<double> row_squares(const Matrix<double>& left, const Matrix<double>& right) {
  const Eigen::HouseholderQR<Matrix<double>> qr(right);
  const Index rank = std::min(right.rows(), right.cols());
  const Matrix<double> triangle = qr.matrixQR().topRows(rank).triangularView<Eigen::Upper>();
  return (left * triangle.transpose()).rowwise().squaredNorm().transpose();
}

bool are_same(const Circuit<double>& x, const Circuit<double>& y) {
  const auto same = [](const Matrix<double>& p, const Matrix<double>& q) {
    return p.cols() == q.cols() && (p.array() == q.array()).all();
  };
  return same(x.left, y.left) && same(x.right, y.right);
}

Squares difference_squares(const Circuit<double>& x, const Circuit<double>& y) {
  if (are_same(x, y))
    return {RowVector<double>::Zero(x.left.rows()), RowVector<double>::Zero(x.right.rows())};
  const Matrix<double> left = side_by_side(x.left, -y.left);
  const Matrix<double> right = side_by_side(x.right, y.right);
  return {row_squares(left, right), row_squares(right, left)};
}

// N7: V_pq = sum_k var(L_pk) R_qk^2 + L_pk^2 var(R_qk), added up over q; an error of radius r has variance
// r^2 / 3.
RowVector<double> row_variances(const Matrix<double>& left, const Matrix<double>& left_radius,
                                const Matrix<double>& right, const Matrix<double>& right_radius) {
  return (left_radius.cwiseAbs2() * right.colwise().squaredNorm().transpose() +
          left.cwiseAbs2() * right_radius.colwise().squaredNorm().transpose())
             .transpose() /
         3;
}

Squares variance_squares(const StoredCircuit& c) {
  return {row_variances(c.value.left, c.radius.left, c.value.right, c.radius.right),
          row_variances(c.value.right, c.radius.right, c.value.left, c.radius.left)};
}

Judged judged(const CircuitClaim& claim, int exponent) {
  const StoredCircuit a = at_exponent(claim.a, exponent);
  const StoredCircuit b = at_exponent(claim.b, exponent);
  Judged result{difference_squares(value_at_exponent(claim.product, exponent), b.value), variance_squares(a)};
  add(result.variance, variance_squares(b));
  return result;
}

// How the errors of a and of b spread over rows and columns. Sines have the errors of their cosines.
struct Spreads {
  ErrorSpread rows_a, rows_b, columns_a, columns_b;

  void note(const CircuitClaim& claim, int exponent) {
    const auto note = [&](ErrorSpread& rows, ErrorSpread& columns, const StoredCircuit& circuit) {
      const StoredCircuit c = at_exponent(circuit, exponent);
      const Matrix<double> right = c.value.right.transpose() * c.value.right;
      const Matrix<double> left = c.value.left.transpose() * c.value.left;
      rows.add(right, c.radius.left.colwise().squaredNorm() / 3);
      columns.add(left, c.radius.right.colwise().squaredNorm() / 3);
    };
    note(rows_a, columns_a, claim.a);
    note(rows_b, columns_b, claim.b);
  }

  double row_limit(double surprise) const {
    return chance_limit(share_squares(rows_a, rows_b), largest_share(rows_a, rows_b), surprise, 0);
  }
  double column_limit(double surprise) const {
    return chance_limit(share_squares(columns_a, columns_b), largest_share(columns_a, columns_b), surprise,
                        0);
  }

  AlignmentNoise row_noise(const Squares& variance, Index inner) const {
    return {.own = rows_a.largest() + rows_b.largest(),
            .largest_row = variance.rows.maxCoeff(),
            .all_rows = variance.rows.sum(),
            .other = misfit(columns_a.largest() + columns_b.largest(), inner, variance.columns)};
  }
  AlignmentNoise column_noise(const Squares& variance, Index inner) const {
    return {.own = columns_a.largest() + columns_b.largest(),
            .largest_row = variance.columns.maxCoeff(),
            .all_rows = variance.columns.sum(),
            .other = misfit(rows_a.largest() + rows_b.largest(), inner, variance.rows)};
  }
};

// A difference of circuits as far as directions of B's right factor meet it, in an orthonormal basis of
// these: what is wrong with left factors is all there, and of errors of right factors what n directions of D
// have.
Matrix<double> met_by_right(const Circuit<double>& x, const Circuit<double>& b) {
  const Eigen::HouseholderQR<Matrix<double>> qr(b.right);
  const Matrix<double> basis =
      qr.householderQ() * Matrix<double>::Identity(b.right.rows(), std::min(b.right.rows(), b.right.cols()));
  return x.left * (x.right.transpose() * basis) - b.left * (b.right.transpose() * basis);
}

Circuit<double> transposed(const Circuit<double>& circuit) { return {circuit.right, circuit.left}; }

// Whether no direction of rows, over all frequencies, has more of the differences than rounding explains.
// @param claims  their circuits, or all of them transposed
bool is_unaligned(const std::vector<CircuitClaim>& claims, int exponent, bool by_rows,
                  const AlignmentNoise& noise, double allowance, double surprise) {
  std::vector<Matrix<double>> parts;
  for (const CircuitClaim& claim : claims) {
    if (claim.harmonic.sine) continue;
    const Circuit<double> x = value_at_exponent(claim.product, exponent);
    const Circuit<double> b = value_at_exponent(claim.b, exponent);
    if (!are_same(x, b))
      parts.push_back(by_rows ? met_by_right(x, b) : met_by_right(transposed(x), transposed(b)));
  }
  if (parts.empty()) return true;
  Alignment alignment;
  const auto visit = [&](void (Alignment::*take)(const Matrix<double>&, const Matrix<double>&)) {
    for (const Matrix<double>& part : parts)
      (alignment.*take)(part, Matrix<double>::Identity(part.cols(), part.cols()));
  };
  visit(&Alignment::begin<Matrix<double>>);
  for (int step = 0; step < Alignment::steps; ++step) {
    alignment.step();
    visit(&Alignment::apply<Matrix<double>>);
  }
  alignment.step();
  return alignment.seen() <= allowance * alignment_limit(noise, surprise);
}

bool within(const RowVector<double>& difference, const RowVector<double>& variance, double limit,
            double limit_in_total) {
  // An overflow proves nothing.
  if (!std::isfinite(difference.sum()) || !std::isfinite(variance.sum())) return false;
  return (difference.array() <= limit * limit * variance.array()).all() &&
         difference.sum() <= limit_in_total * limit_in_total * variance.sum();
}

}  // namespace

StoredCircuit exact_product(const Matrix<double>& left, const Matrix<double>& right) {
  return normalized({left, right}, {Matrix<double>::Zero(left.rows(), left.cols()),
                                    Matrix<double>::Zero(right.rows(), right.cols())});
}

bool agree(const std::vector<CircuitClaim>& claims, Index inner, const CircuitRules& rules) {
  int exponent = claims.front().b.exponent;
  double unit = 0;
  for (const CircuitClaim& claim : claims) {
    exponent = std::max({exponent, claim.a.exponent, claim.b.exponent, claim.product.exponent});
    unit = std::max({unit, effective_unit(claim.a), effective_unit(claim.b)});
  }
  const double total = ratio_limit(inner, unit);
  Squares difference;
  Squares variance;
  Spreads spreads;
  for (auto claim = claims.begin(); claim != claims.end();) {
    const Harmonic harmonic = claim->harmonic;
    spreads.note(*claim, exponent);
    Squares apart;
    Squares explained;
    for (; claim != claims.end() && claim->harmonic.turns_like(harmonic); ++claim) {
      const Judged term = judged(*claim, exponent);
      add(apart, term.difference);
      add(explained, term.variance);
    }
    if (!(apart.rows.sum() <= total * total * explained.rows.sum())) return false;
    add(difference, apart);
    add(variance, explained);
  }
  const double surprise = surprise_of(rules.lines);
  const double allowance = arithmetic_allowance(inner, unit);
  const auto limit = [&](double chance) { return limit_with_arithmetic(chance, allowance); };
  if (!within(difference.rows, variance.rows, limit(spreads.row_limit(surprise)), total) ||
      !within(difference.columns, variance.columns, limit(spreads.column_limit(surprise)), total))
    return false;
  if (!rules.independent) return true;
  return is_unaligned(claims, exponent, true, spreads.row_noise(variance, inner), allowance, surprise) &&
         is_unaligned(claims, exponent, false, spreads.column_noise(variance, inner), allowance, surprise);
}

std::vector<TermPair> as_terms(const StoredCircuit& a, const StoredCircuit& b) { return {{{}, a, b}}; }

Index inner_width(const std::vector<TermPair>& terms) {
  Index of_a = 0;
  Index of_b = 0;
  for (const TermPair& term : terms) {
    if (term.harmonic.sine) continue;
    of_a += term.a.value.left.cols();
    of_b += term.b.value.left.cols();
  }
  return std::max(of_a, of_b);
}

double HiddenSize::relative() const {
  if (!std::isfinite(difference) || !std::isfinite(norm)) return std::numeric_limits<double>::infinity();
  return norm > 0 ? static_cast<double>(difference / norm) : 0;
}

HiddenSize hidden_size(const std::vector<TermPair>& terms) {
  int exponent = terms.front().a.exponent;
  double unit = 0;
  for (const TermPair& term : terms) {
    exponent = std::max({exponent, term.a.exponent, term.b.exponent});
    unit = std::max({unit, effective_unit(term.a), effective_unit(term.b)});
  }
  double variance = 0;
  double norm_a = 0;
  double norm_b = 0;
  for (const TermPair& term : terms) {
    const StoredCircuit a = at_exponent(term.a, exponent);
    const StoredCircuit b = at_exponent(term.b, exponent);
    variance += variance_squares(a).rows.sum() + variance_squares(b).rows.sum();
    norm_a += row_squares(a.value.left, a.value.right).sum();
    norm_b += row_squares(b.value.left, b.value.right).sum();
  }
  const double allowance = arithmetic_allowance(inner_width(terms), unit);
  const auto in_full = [&](double size) { return std::ldexp(static_cast<long double>(size), exponent); };
  return {in_full(std::sqrt(variance) * allowance), in_full(std::sqrt(std::max(norm_a, norm_b)))};
}

bool same_circuits(const std::vector<TermPair>& terms, const CircuitRules& rules) {
  std::vector<CircuitClaim> claims;
  for (const TermPair& term : terms) claims.push_back({term.harmonic, term.a, term.a, term.b});
  return agree(claims, inner_width(terms), rules);
}

}  // namespace attnsym
