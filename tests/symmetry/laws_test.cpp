// The laws of N2 for every group and scalar, each with a twin that must fail.
#include "verify/testing/laws.hpp"

#include <gtest/gtest.h>

#include "symmetry/circuits.hpp"
#include "verify/testing/generators.hpp"

namespace attnsym::testing {
namespace {

template <class S>
class Laws : public ::testing::Test {};
using Scalars = ::testing::Types<Rational, float, double, Float50>;
TYPED_TEST_SUITE(Laws, Scalars);

void expect_not_trivial(const TrivialCount& count) { EXPECT_LE(count.share(), largest_trivial_share); }

TYPED_TEST(Laws, GeneralLinearIsAGroup) {
  using S = TypeParam;
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("GL(n)", [&] {
    const Index n = *whole_range(3, 5);
    const auto a = *general_linear<S>(n);
    trivial.note(a);
    group_laws(a, *general_linear<S>(n), *general_linear<S>(n));
  }));
  expect_not_trivial(trivial);
}

TYPED_TEST(Laws, AffineIsAGroup) {
  using S = TypeParam;
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("affine gauges", [&] {
    const Index n = *whole_range(1, 4);
    const auto a = *affine<S>(n);
    trivial.note(a);
    group_laws(a, *affine<S>(n), *affine<S>(n));
  }));
  expect_not_trivial(trivial);
}

TYPED_TEST(Laws, AttentionElementsAreAGroupThatActs) {
  using S = TypeParam;
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("attention elements", [&] {
    const AttentionConfig c = *config();
    const auto g = *attention_element<S>(c);
    const auto h = *attention_element<S>(c);
    trivial.note(g);
    group_laws(g, h, *attention_element<S>(c));
    action_laws(g, h, *weights<S>(c));
  }));
  expect_not_trivial(trivial);
}

// Twin: composing in the wrong order is no action, and drawn elements show it.
TYPED_TEST(Laws, WrongOrderOfCompositionIsCaught) {
  using S = TypeParam;
  int violations = 0;
  rc::check("counting violations", [&] {
    const AttentionConfig c = *config();
    const auto g = *attention_element<S>(c);
    const auto h = *attention_element<S>(c);
    const auto w = *weights<S>(c);
    if (!close(act(compose(h, g), w), act(g, act(h, w)))) ++violations;
  });
  EXPECT_GT(violations, 20);
}

// N1, N2: the circuits and the constant follow the heads and see nothing else of the element.
TYPED_TEST(Laws, CircuitsAreInvariant) {
  using S = TypeParam;
  EXPECT_TRUE(rc::check("circuits are invariant", [] {
    const AttentionConfig c = *config();
    const auto g = *attention_element<S>(c);
    const auto w = *weights<S>(c);
    const auto moved = act(g, w);
    const Permutation image = head_image(g);
    const auto dense = [](const Circuit<S>& circuit) {
      return Matrix<S>(circuit.left * circuit.right.transpose());
    };
    for (Index head = 0; head < c.heads; ++head) {
      RC_ASSERT(is_close(dense(qk_circuit(c, w, head)), dense(qk_circuit(c, moved, image(head)))));
      RC_ASSERT(is_close(dense(vo_circuit(c, w, head)), dense(vo_circuit(c, moved, image(head)))));
    }
    RC_ASSERT(is_close(constant_output(c, w), constant_output(c, moved)));
  }));
}

TEST(PermutationLaws, GroupAndAction) {
  TrivialCount trivial;
  EXPECT_TRUE(rc::check("permutations", [&] {
    const Index n = *whole_range(3, 6);
    const auto p = *permutation(n);
    trivial.note(p);
    group_laws(p, *permutation(n), *permutation(n));
    action_laws(p, *permutation(n),
                *rc::gen::container<std::vector<int>>(static_cast<std::size_t>(n), whole_range(0, 9)));
  }));
  expect_not_trivial(trivial);
}

TEST(PermutationLaws, MovesEntryToItsImage) {
  const auto p = Permutation::from_image({2, 0, 1});
  EXPECT_EQ(act(p, std::vector<char>{'a', 'b', 'c'}), (std::vector<char>{'b', 'c', 'a'}));
}

TEST(BrokenInput, IsRefusedWithBothSizes) {
  EXPECT_THROW(Permutation::from_image({0, 0}), ShapeError);
  EXPECT_THROW(Permutation::from_image({0, 2}), ShapeError);
  EXPECT_THROW(compose(Permutation::identity(2), Permutation::identity(3)), ShapeError);
  EXPECT_THROW(GeneralLinear<double>::from_matrix(Matrix<double>::Zero(2, 2)), SingularError);
  EXPECT_THROW(GeneralLinear<Rational>::from_matrix(Matrix<Rational>::Ones(2, 2)), SingularError);
  EXPECT_THROW(GeneralLinear<double>::from_matrix(Matrix<double>::Identity(2, 3)), ShapeError);
  Matrix<double> nan = Matrix<double>::Identity(2, 2);
  nan(0, 1) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(GeneralLinear<double>::from_matrix(nan), SingularError);
  const Matrix<double> infinite = Matrix<double>::Constant(2, 2, std::numeric_limits<double>::infinity());
  EXPECT_THROW(GeneralLinear<double>::from_matrix_and_inverse(infinite, infinite), SingularError);
  EXPECT_THROW(GeneralLinear<double>::from_matrix_and_inverse(infinite, Matrix<double>::Identity(2, 2)),
               SingularError);
  EXPECT_THROW(GeneralLinear<double>::from_matrix_and_inverse(Matrix<double>::Identity(2, 2), nan),
               SingularError);
}

// Squares of these entries overflow or vanish; the entries themselves do neither.
TEST(GeneralLinearConstruction, JudgesHugeAndTinyMatricesByTheirScale) {
  for (const double scale : {1e200, 1e-200}) {
    Matrix<double> matrix(2, 2);
    matrix << 1, 2, 0, 1;
    Matrix<double> inverse(2, 2);
    inverse << 1, -2, 0, 1;
    EXPECT_NO_THROW(GeneralLinear<double>::from_matrix_and_inverse(scale * matrix, inverse / scale));
    EXPECT_THROW(GeneralLinear<double>::from_matrix_and_inverse(scale * matrix, matrix / scale),
                 SingularError);
  }
  const Matrix<double> huge = Matrix<double>::Constant(2, 2, 1e200);
  EXPECT_THROW(GeneralLinear<double>::from_matrix_and_inverse(huge, huge), SingularError);
}

TEST(BrokenInput, AShiftNeedsItsBias) {
  AttentionConfig c;
  c.model_width = 2;
  c.heads = c.groups = c.key_width = c.value_width = 1;
  c.value_bias = true;
  AttentionWeights<double> w;
  w.groups.push_back({Matrix<double>::Ones(2, 1),
                      Matrix<double>::Ones(2, 1),
                      {},
                      RowVector<double>::Ones(1),
                      {{Matrix<double>::Ones(2, 1), Matrix<double>::Ones(1, 2), {}}}});
  auto key_shift = identity_element<double>(c);
  key_shift.local[0].second.first.shift(0) = 1;
  EXPECT_THROW(act(key_shift, w), ShapeError);
  auto value_shift = identity_element<double>(c);
  value_shift.local[0].second.second.shift(0) = 1;
  EXPECT_THROW(act(value_shift, w), ShapeError) << "there is no output bias to take it up";
}

}  // namespace
}  // namespace attnsym::testing
