#include <Eigen/Cholesky>
#include <Eigen/LU>
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "symmetry/matrix_products.hpp"
#include "symmetry/random.hpp"
#include "verify/comparison.hpp"
#include "verify/models/stream_transport.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t probe_salt = 0x73747265616d;

// Columns by one number each that a sign changes at most in sign, in ascending order of size.
struct Fingerprints {
  RowVector<double> number;
  RowVector<double> noise;  // standard deviation
  std::vector<Index> order;

  explicit Fingerprints(const StoredMatrix& rows) {
    const RowVector<double> probe = fixed_probe<double>(1, rows.value.rows(), probe_salt);
    number = multiply(probe, rows.value);
    noise = (multiply(probe.cwiseAbs2(), rows.radius.cwiseAbs2()) / 3).cwiseSqrt();
    order.resize(static_cast<std::size_t>(number.size()));
    std::iota(order.begin(), order.end(), Index{0});
    std::ranges::sort(order, {}, [&](Index k) { return std::abs(number(k)); });
  }
};

// Squared distance of column k of a, times sign, from column l of b, in units of its variance.
double distance(const StoredMatrix& a, Index k, double sign, const StoredMatrix& b, Index l) {
  const double squares = (sign * a.value.col(k) - b.value.col(l)).squaredNorm();
  if (squares == 0) return 0;
  return squares * 3 / (a.radius.col(k).squaredNorm() + b.radius.col(l).squaredNorm());
}

// Matches columns whose fingerprints agree by their distance. What it returns has to be compared in full.
std::optional<StreamTransport> matched_columns(const StoredMatrix& a, const StoredMatrix& b) {
  const Fingerprints of_a(a);
  const Fingerprints of_b(b);
  const Index width = a.value.cols();
  std::vector<Index> image(static_cast<std::size_t>(width), -1);
  std::vector<char> used(image.size());
  RowVector<double> sign(width);
  std::size_t first = 0;
  for (const Index k : of_a.order) {
    const double size = std::abs(of_a.number(k));
    const auto reach = [&](Index l) { return 8 * std::hypot(of_a.noise(k), of_b.noise(l)) + 1e-9 * size; };
    while (first < of_b.order.size() &&
           std::abs(of_b.number(of_b.order[first])) < size - reach(of_b.order[first]))
      ++first;
    double best = std::numeric_limits<double>::infinity();
    for (std::size_t i = first; i < of_b.order.size(); ++i) {
      const Index l = of_b.order[i];
      if (std::abs(of_b.number(l)) > size + reach(l)) break;
      if (used[static_cast<std::size_t>(l)]) continue;
      for (const double s : {1.0, -1.0}) {
        const double d = distance(a, k, s, b, l);
        if (!(d < best)) continue;
        best = d;
        image[static_cast<std::size_t>(k)] = l;
        sign(k) = s;
      }
    }
    if (!std::isfinite(best)) return std::nullopt;
    used[static_cast<std::size_t>(image[static_cast<std::size_t>(k)])] = 1;
  }
  return StreamTransport::signed_permutation(Permutation::from_image(std::move(image)), std::move(sign));
}

// The orthogonal factor of a square matrix by Newton's iteration with Higham's scaling; nothing for a
// singular one. Source: N. Higham, Functions of Matrices, 8.3 and 8.6.
std::optional<Matrix<double>> orthogonal_factor(Matrix<double> x) {
  if (!(x.norm() > 0)) return std::nullopt;
  x /= x.norm();
  constexpr int most_steps = 60;
  for (int step = 0; step < most_steps; ++step) {
    const Eigen::PartialPivLU<Matrix<double>> lu(x);
    if (step == 0 && !(lu.rcond() > 1e-13)) return std::nullopt;
    const Matrix<double> inverse = lu.inverse().transpose();
    const double scale = std::sqrt(inverse.norm() / x.norm());
    const Matrix<double> next = (scale * x + inverse / scale) / 2;
    const double moved = (next - x).norm();
    x = next;
    if (moved <= 1e-14 * x.norm()) break;
  }
  return x;
}

StoredMatrix with_row_of_ones(const StoredMatrix& rows) {
  const Index count = rows.value.rows();
  const Index width = rows.value.cols();
  StoredMatrix result{Matrix<double>(count + 1, width), Matrix<double>::Zero(count + 1, width)};
  result.value.row(0).setConstant(rows.value.norm() / static_cast<double>(width));
  result.value.bottomRows(count) = rows.value;
  result.radius.bottomRows(count) = rows.radius;
  return result;
}

// Whether rows of A are rows of B but for rounding and arithmetic, in total and column by column. Generous:
// what comes out is checked in full.
bool roughly_equal(const StoredMatrix& a, const StoredMatrix& b) {
  const Matrix<double> apart = a.value - b.value;
  const double scale = std::max(a.value.cwiseAbs().maxCoeff(), b.value.cwiseAbs().maxCoeff());
  if (!(scale > 0)) return apart.isZero(0);
  const auto squares = [&](const Matrix<double>& m) -> RowVector<double> {
    return (m / scale).colwise().squaredNorm();
  };
  const RowVector<double> variances = (squares(a.radius) + squares(b.radius)) / 3;
  const RowVector<double> differences = squares(apart);
  const double unit = std::sqrt(variances.sum() * 3 / std::max(squares(a.value).sum(), 1e-300));
  const double limit = 2 * ratio_limit(a.value.cols(), unit);
  const double floor = 1e-30 * squares(a.value).sum();
  return (differences.array() <= limit * limit * variances.array() + floor).all();
}

// The row of ones stays, up to its sign.
bool keeps_mean(const StreamTransport& transport, Index width) {
  const RowVector<double> ones = RowVector<double>::Ones(width);
  const RowVector<double> image = transport.written({ones, RowVector<double>::Zero(width)}).value;
  const double off = std::min((image - ones).norm(), (image + ones).norm());
  return off <= 1e-9 * ones.norm();
}

}  // namespace

// Newton's iteration for the nearest orthogonal matrix, which keeps a row of ones once it is kept.
Matrix<double> polished_transport(Matrix<double> q, bool keeps_mean) {
  if (keeps_mean) {
    const Matrix<double> ones =
        Matrix<double>::Constant(1, q.rows(), 1 / std::sqrt(static_cast<double>(q.rows())));
    const Matrix<double> image = multiply(ones, q);
    const double sign = image.sum() < 0 ? -1 : 1;
    q += multiply_tn(ones, sign * ones - image);
    const Matrix<double> source = multiply_nt(q, ones);  // what is written to the mean comes from there alone
    q -= multiply(source - sign * ones.transpose(), ones);
  }
  for (int step = 0; step < 3; ++step) q = (3 * q - multiply(q, multiply_tn(q, q))) / 2;
  return q;
}

// The polar factor of from^T to is wrong by the square of from's condition, and by what computing rows added
// to them; a step of least squares on rows as they are stored takes that away. Directions that rows say
// nothing about stay.
Matrix<double> refined_transport(const Matrix<double>& from, const Matrix<double>& to,
                                 const Matrix<double>& q) {
  const Matrix<double> moved = multiply(from, q);
  const Matrix<double> left = to - moved;
  Matrix<double> products = multiply_tn(moved, moved);
  constexpr double hold = 1e-3;  // of the mean share of a direction
  products.diagonal().array() += hold * products.trace() / static_cast<double>(products.rows());
  const Eigen::LDLT<Matrix<double>> gram(products);
  const Matrix<double> step = gram.solve(multiply_tn(moved, left));
  Matrix<double> next = q + multiply(q, step - step.transpose()) / 2;
  next = (3 * next - multiply(next, multiply_tn(next, next))) / 2;
  return (multiply(from, next) - to).norm() < left.norm() ? next : q;
}

std::optional<StreamTransport> find_stream_transport(const StoredMatrix& a, const StoredMatrix& b,
                                                     Index stored_rows, const StreamSearch& search) {
  const Index width = a.value.cols();
  if (roughly_equal(a, b)) return StreamTransport::identity(width);
  const auto may_be = [&](const StreamTransport& transport) {
    return (!search.keeps_mean || keeps_mean(transport, width)) && roughly_equal(transport.written(a), b);
  };
  if (auto permuted = matched_columns(a, b)) {
    if (may_be(*permuted)) return permuted;
  }
  if (search.rigid) return std::nullopt;
  // Centred rows leave the direction of ones open, which has to stay.
  const Matrix<double> from = search.centred ? with_row_of_ones(a).value : a.value;
  const Matrix<double> to = search.centred ? with_row_of_ones(b).value : b.value;
  const Index first = search.centred ? 1 : 0;
  if (auto q = orthogonal_factor(multiply_tn(from, to))) {
    StreamTransport rotated = StreamTransport::orthogonal(polished_transport(
        refined_transport(from.topRows(first + stored_rows), to.topRows(first + stored_rows), *q),
        search.keeps_mean));
    if (may_be(rotated)) return rotated;
  }
  return std::nullopt;
}

}  // namespace attnsym
