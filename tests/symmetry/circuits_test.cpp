// N4: norms of circuit differences without forming circuits and without losing digits.
#include "symmetry/circuits.hpp"

#include <gtest/gtest.h>

#include "symmetry/errors.hpp"
#include "symmetry/random.hpp"

namespace attnsym {
namespace {

Matrix<double> dense(const Circuit<double>& c) { return c.left * c.right.transpose(); }

Circuit<double> random_circuit(Index rows, Index cols, Index inner, std::uint64_t salt) {
  return {fixed_probe<double>(rows, inner, salt), fixed_probe<double>(cols, inner, salt + 1)};
}

void expect_agrees_with_dense(const Circuit<double>& a, const Circuit<double>& b) {
  const Matrix<double> apart = dense(a) - dense(b);
  const DifferenceNorms<double> norms = difference_norms(a, b);
  EXPECT_NEAR(norms.total, apart.norm(), 1e-13 * (1 + apart.norm()));
  EXPECT_TRUE(norms.rows.isApprox(RowVector<double>(apart.rowwise().norm().transpose()), 1e-12));
  EXPECT_TRUE(norms.columns.isApprox(RowVector<double>(apart.colwise().norm()), 1e-12));
}

TEST(DifferenceNorms, AgreeWithTheDenseProducts) {
  expect_agrees_with_dense(random_circuit(21, 20, 4, 1), random_circuit(21, 20, 4, 3));
  expect_agrees_with_dense(random_circuit(21, 20, 4, 1), random_circuit(21, 20, 7, 3));
  expect_agrees_with_dense(random_circuit(3, 2, 5, 1),
                           random_circuit(3, 2, 6, 3));  // wider inside than outside
  expect_agrees_with_dense(random_circuit(2, 1, 1, 1), random_circuit(2, 1, 1, 3));
}

TEST(DifferenceNorms, NormOfOneCircuit) {
  for (const Index inner : {1, 4, 9}) {
    const Circuit<double> c = random_circuit(7, 6, inner, 11);
    EXPECT_NEAR(norm(c), dense(c).norm(), 1e-13 * norm(c));
  }
}

// Two nearly equal circuits: the Gram shortcut answers at the square root of the machine precision, the QR
// does not.
TEST(DifferenceNorms, KeepDigitsWhereGramMatricesLoseThem) {
  const Circuit<double> a = random_circuit(50, 50, 8, 5);
  Circuit<double> b = a;
  b.left(0, 0) += 1e-12;
  const double truth = 1e-12 * a.right.col(0).norm();
  EXPECT_NEAR(difference_norms(a, b).total, truth, 0.02 * truth);
  const auto inner = [](const Circuit<double>& x, const Circuit<double>& y) {
    return ((y.left.transpose() * x.left).cwiseProduct(y.right.transpose() * x.right)).sum();
  };
  const double gram = std::sqrt(std::abs(inner(a, a) - 2 * inner(a, b) + inner(b, b)));
  EXPECT_GT(std::abs(gram - truth), 0.5 * truth) << "if Gram were good enough, QR would not be needed";
}

TEST(DifferenceNorms, FiftyDigitsSeeWhatDoubleCannot) {
  Circuit<Float50> a{fixed_probe<Float50>(5, 2, 1), fixed_probe<Float50>(4, 2, 2)};
  Circuit<Float50> b = a;
  b.left(0, 0) += Float50("1e-40");
  const Float50 truth = Float50("1e-40") * a.right.col(0).norm();
  EXPECT_LT(abs(difference_norms(a, b).total - truth), Float50("1e-45"));
}

TEST(DifferenceNorms, RefuseDifferentOuterShapes) {
  EXPECT_THROW(difference_norms(random_circuit(5, 4, 2, 1), random_circuit(6, 4, 2, 1)), ShapeError);
  EXPECT_THROW(difference_norms(random_circuit(5, 4, 2, 1), random_circuit(5, 3, 2, 1)), ShapeError);
}

TEST(Homogeneous, PutsTheBiasLastAndZeroWhereThereIsNone) {
  const Matrix<double> w = Matrix<double>::Constant(2, 3, 5);
  const RowVector<double> b = RowVector<double>::Constant(3, 7);
  EXPECT_EQ(homogeneous(w, b).row(2), b);
  EXPECT_EQ(homogeneous(w, RowVector<double>()).row(2), RowVector<double>::Zero(3).eval());
}

}  // namespace
}  // namespace attnsym
