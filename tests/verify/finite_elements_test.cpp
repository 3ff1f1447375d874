// Finite elements [N5], one by one: what a single move does to the function, and what is decided about it.
// The names are those of the table that tiny networks in NumPy were measured for, 36 lines of "equal" and
// "should differ".
#include <gtest/gtest.h>

#include <Eigen/LU>

#include "symmetry/thin_qr.hpp"
#include "tests/support/attention_kinds.hpp"
#include "tests/support/random_module.hpp"
#include "verify/attend.hpp"
#include "verify/decide.hpp"

namespace attnsym {
namespace {

using testing::f32;
using testing::random_weights;
using testing::stored;
using testing::tiny_config;
using testing::with_biases;
using testing::with_norms;
using testing::with_rotary;
using testing::with_slopes;
using testing::with_softcap;

const std::vector<double> two{1.0, 0.3};

struct Element {
  std::string name;
  AttentionConfig config;
  bool equal;
  void (*edit)(StoredAttention& module);
  void (*prepare)(AttentionWeights<double>& weights) = nullptr;  // both modules alike
};

double relative(const Matrix<double>& a, const Matrix<double>& b) { return (a - b).norm() / a.norm(); }

Matrix<double> orthogonal(Index size) {
  return ThinQr<double>(fixed_probe<double>(size, size, 5)).times(Matrix<double>::Identity(size, size));
}

// Keys of the first group by A^T, queries by A^-1.
void move_scores(StoredAttention& module, const Matrix<double>& a) {
  auto& group = module.weights.groups[0];
  group.key = group.key * a.transpose();
  group.readers[0].query = group.readers[0].query * a.inverse();
}

Matrix<double> diagonal(std::initializer_list<double> entries) {
  const std::vector<double> numbers(entries);
  return Eigen::Map<const Eigen::VectorXd>(numbers.data(), static_cast<Index>(numbers.size())).asDiagonal();
}

// Pair p by a complex number, in the half-split order of columns.
Matrix<double> complex_scalars(double real, double imaginary) {
  Matrix<double> a = Matrix<double>::Identity(4, 4);
  a(0, 0) = a(2, 2) = real;
  a(0, 2) = -imaginary;
  a(2, 0) = imaginary;
  return a;
}

void shift_key_bias(StoredAttention& m) { m.weights.groups[0].key_bias += fixed_probe<double>(1, 4, 9); }

void move_value_bias(StoredAttention& m) {
  auto& group = m.weights.groups[0];
  m.weights.output_bias += group.value_bias * group.readers[0].output;
  group.value_bias.setZero();
}

void reorder_columns(StoredAttention& m) {
  const std::vector<Index> order{0, 2, 1, 3};
  for (auto& group : m.weights.groups) {
    group.key = Matrix<double>(group.key(Eigen::all, order));
    for (auto& reader : group.readers) reader.query = Matrix<double>(reader.query(Eigen::all, order));
  }
}

// Columns of all queries and keys by x -> x P^T, gains moved to where the columns go by x -> x |P|^T.
void turn_columns(StoredAttention& m, const Matrix<double>& p, bool with_gains) {
  for (auto& group : m.weights.groups) {
    group.key = group.key * p.transpose();
    for (auto& reader : group.readers) reader.query = reader.query * p.transpose();
  }
  if (!with_gains) return;
  const Matrix<double> places = p.cwiseAbs().transpose();
  m.weights.query_gain = m.weights.query_gain * places;
  m.weights.key_gain = m.weights.key_gain * places;
}

Matrix<double> signed_permutation() {
  Matrix<double> p = Matrix<double>::Zero(4, 4);
  p(2, 0) = -1;
  p(0, 1) = 1;
  p(3, 2) = 1;
  p(1, 3) = -1;
  return p;
}

void equal_gains(AttentionWeights<double>& w) {
  w.query_gain.setOnes();
  w.key_gain.setOnes();
}

std::vector<Element> group_elements() {
  const AttentionConfig gqa = tiny_config(4, 2);
  return {
      {"GQA: swap 2 q-heads inside a group", gqa, true,
       [](StoredAttention& m) { std::swap(m.weights.groups[0].readers[0], m.weights.groups[0].readers[1]); }},
      {"GQA: swap the 2 groups with all their q-heads", gqa, true,
       [](StoredAttention& m) { std::swap(m.weights.groups[0], m.weights.groups[1]); }},
      {"GQA: swap q-heads across groups", gqa, false,
       [](StoredAttention& m) { std::swap(m.weights.groups[0].readers[0], m.weights.groups[1].readers[0]); }},
  };
}

std::vector<Element> rotary_elements() {
  const AttentionConfig rotary = with_rotary(tiny_config(2, 2), two);
  const AttentionConfig interleaved = with_rotary(tiny_config(2, 2), two, PairLayout::Interleaved);
  return {
      {"RoPE: per-frequency complex scalar on Q, inverse-conjugate on K", rotary, true,
       [](StoredAttention& m) { move_scores(m, complex_scalars(0.8, 1.1)); }},
      {"RoPE: generic GL(dk)", rotary, false,
       [](StoredAttention& m) {
         move_scores(m, Matrix<double>::Identity(4, 4) + fixed_probe<double>(4, 4, 1) / 2);
       }},
      {"RoPE: independent real scales in one pair", rotary, false,
       [](StoredAttention& m) {
         move_scores(m, diagonal({2, 1, 1, 1}));
       }},
      {"RoPE: reflection inside a pair", rotary, false,
       [](StoredAttention& m) {
         move_scores(m, diagonal({1, 1, -1, 1}));
       }},
      {"RoPE: swap two frequency pairs", rotary, false,
       [](StoredAttention& m) {
         move_scores(m, Matrix<double>::Identity(4, 4)(std::vector<Index>{1, 0, 3, 2}, Eigen::all));
       }},
      {"layout: interleaved weights permuted [0,2,1,3] read by half-split rope", interleaved, true,
       [](StoredAttention& m) {
         m.config.rotary.layout = PairLayout::HalfSplit;
         reorder_columns(m);
       }},
      {"layout: un-permuted weights read by half-split rope", interleaved, false,
       [](StoredAttention& m) { m.config.rotary.layout = PairLayout::HalfSplit; }},
  };
}

std::vector<Element> bias_elements() {
  const AttentionConfig biased = with_biases(tiny_config(2, 2));
  return {
      {"K bias arbitrary shift, NoPE", biased, true, shift_key_bias},
      {"V bias -> O bias, NoPE", biased, true, move_value_bias},
      {"K bias arbitrary shift, ALiBi", with_slopes(biased), true, shift_key_bias},
      {"V bias -> O bias, ALiBi", with_slopes(biased), true, move_value_bias},
      {"K bias arbitrary shift, RoPE", with_rotary(biased, two), false, shift_key_bias},
      {"V bias -> O bias, RoPE", with_rotary(biased, two), true, move_value_bias},
      {"K bias arbitrary shift, softcap", with_softcap(biased), false, shift_key_bias},
      {"V bias -> O bias, softcap", with_softcap(biased), true, move_value_bias},
      {"ALiBi: head swap without swapping slopes", with_slopes(tiny_config(2, 2)), false,
       [](StoredAttention& m) { std::swap(m.weights.groups[0], m.weights.groups[1]); }},
      {"ALiBi: head swap together with slopes", with_slopes(tiny_config(2, 2)), true,
       [](StoredAttention& m) {
         std::swap(m.weights.groups[0], m.weights.groups[1]);
         std::swap(m.config.slopes[0], m.config.slopes[1]);
       }},
  };
}

std::vector<Element> norm_elements() {
  const AttentionConfig norms = with_norms(tiny_config(2, 2));
  const AttentionConfig rotary = with_norms(with_rotary(tiny_config(2, 2), two));
  return {
      {"QK-RMSNorm NoPE: signed permutation on q,k coords and gains", norms, true,
       [](StoredAttention& m) { turn_columns(m, signed_permutation(), true); }},
      {"QK-RMSNorm NoPE: orthogonal matrix with unequal gains", norms, false,
       [](StoredAttention& m) { turn_columns(m, orthogonal(4), false); }},
      {"QK-RMSNorm NoPE: orthogonal matrix with equal gains (degenerate stratum)", norms, true,
       [](StoredAttention& m) { turn_columns(m, orthogonal(4), false); }, equal_gains},
      {"QK-RMSNorm RoPE: quarter turn J in one pair + gain swap", rotary, true,
       [](StoredAttention& m) { turn_columns(m, complex_scalars(0, 1), true); }},
      {"QK-RMSNorm RoPE: quarter turn without gain swap", rotary, false,
       [](StoredAttention& m) { turn_columns(m, complex_scalars(0, 1), false); }},
      {"QK-norm: positive scale of W_Q (eps=0)", norms, true,
       [](StoredAttention& m) { m.weights.groups[0].readers[0].query *= 3; }},
  };
}

std::vector<Element> degenerate_elements() {
  return {
      {"two heads with equal M: only N1+N2 matters", tiny_config(2, 2), true,
       [](StoredAttention& m) {  // V1 O1 + V2 O2 = V1 (O1 + O2) + (V2 - V1) O2
         auto& groups = m.weights.groups;
         groups[1].value -= groups[0].value;
         groups[0].readers[0].output += groups[1].readers[0].output;
       },
       [](AttentionWeights<double>& w) {
         w.groups[1].key = w.groups[0].key;
         w.groups[1].readers[0].query = w.groups[0].readers[0].query;
       }},
  };
}

std::vector<Element> elements() {
  std::vector<Element> all;
  for (auto* some : {group_elements, rotary_elements, bias_elements, norm_elements, degenerate_elements}) {
    for (Element& element : some()) all.push_back(std::move(element));
  }
  return all;
}

class FiniteElement : public ::testing::TestWithParam<Element> {};

TEST_P(FiniteElement, DoesWhatItShould) {
  const Element& element = GetParam();
  auto weights = random_weights<double>(element.config, 6);
  if (element.prepare) element.prepare(weights);
  const StoredAttention a = stored(element.config, weights, f32);
  StoredAttention b = a;
  element.edit(b);
  const Matrix<double> tokens = 1.5 * fixed_probe<double>(6, 6, 2);
  const double apart = relative(attend(a.config, a.weights, tokens), attend(b.config, b.weights, tokens));
  if (element.equal) {
    EXPECT_LT(apart, 1e-13) << element.name;
  } else {
    EXPECT_GT(apart, 1e-2) << element.name;
  }
  const std::string verdict = name_of(decide_equivalence(a, stored(b.config, b.weights, f32)).verdict);
  if (element.equal) {
    EXPECT_TRUE(verdict == "equivalent" || verdict == "identical") << element.name << ": " << verdict;
  } else {
    EXPECT_EQ(verdict, "distinct") << element.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Table, FiniteElement, ::testing::ValuesIn(elements()));

// "length-1, length-2 and length-3 probes: heads {(M,N)} vs {(-M,-N),(0,2N)}": that is why witnesses have
// three tokens [N3].
TEST(FiniteElementTwin, TwoTokensDoNotTellAHeadFromTwoOthers) {
  const AttentionConfig c = tiny_config(2, 2);
  auto one = random_weights<double>(c, 6);
  one.groups[1].readers[0].query.setZero();
  one.groups[1].readers[0].output.setZero();
  auto other = one;
  other.groups[0].key *= -1;
  other.groups[0].value *= -1;
  other.groups[1].value = 2 * one.groups[0].value;
  other.groups[1].readers[0].output = one.groups[0].readers[0].output;
  const auto apart = [&](Index length) {
    const Matrix<double> tokens = fixed_probe<double>(length, 6, 2);
    return relative(attend(c, one, tokens), attend(c, other, tokens));
  };
  EXPECT_LT(apart(1), 1e-14);
  EXPECT_LT(apart(2), 1e-14);
  EXPECT_GT(apart(3), 1e-2);
  EXPECT_STREQ(name_of(decide_equivalence(stored(c, one, f32), stored(c, other, f32)).verdict), "distinct");
}

// The rows of that table that are about other parts of a model, written out.
Matrix<double> swiglu(const Matrix<double>& x, const Matrix<double>& gate, const Matrix<double>& up,
                      const Matrix<double>& down) {
  const Matrix<double> z = x * gate;
  return z.unaryExpr([](double v) { return v / (1 + std::exp(-v)); }).cwiseProduct(x * up) * down;
}

TEST(FiniteElementTwin, SwiGlu) {
  const Matrix<double> x = fixed_probe<double>(5, 6, 1);
  Matrix<double> gate = fixed_probe<double>(6, 7, 2);
  Matrix<double> up = fixed_probe<double>(6, 7, 3);
  Matrix<double> down = fixed_probe<double>(7, 6, 4);
  const Matrix<double> before = swiglu(x, gate, up, down);
  const RowVector<double> t = 2 * fixed_probe<double>(1, 7, 5).array() + 0.5;  // of both signs
  up = up * t.asDiagonal();
  down = t.cwiseInverse().asDiagonal() * down;
  EXPECT_LT(relative(before, swiglu(x, gate, up, down)), 1e-13) << "SwiGLU: up column * t, down row / t";
  gate = gate * t.asDiagonal();
  EXPECT_GT(relative(before, swiglu(x, gate, up, down)), 1e-1) << "SwiGLU: gate column * t";
}

Matrix<double> rms(Matrix<double> x) {
  for (Index n = 0; n < x.rows(); ++n)
    x.row(n) /= std::sqrt(x.row(n).squaredNorm() / static_cast<double>(x.cols()));
  return x;
}

Matrix<double> without_mean(const Matrix<double>& x) { return x.colwise() - x.rowwise().mean(); }

TEST(FiniteElementTwin, StreamBehindNorms) {
  const Matrix<double> x = fixed_probe<double>(5, 6, 1);
  const Matrix<double> weight = fixed_probe<double>(6, 4, 2);
  const RowVector<double> gain = fixed_probe<double>(1, 6, 3).array() + 1.5;
  const Matrix<double> u = orthogonal(6);
  const Matrix<double> rotated = rms(x * u);
  const Matrix<double> rmsnorm = rms(x) * gain.asDiagonal() * weight;
  EXPECT_GT(relative(rmsnorm, rotated * gain.asDiagonal() * (u.transpose() * weight)), 1e-2)
      << "RMSNorm: rotate stream, gain left in place";
  EXPECT_LT(relative(rmsnorm, rotated * (u.transpose() * gain.asDiagonal() * weight)), 1e-13)
      << "RMSNorm: rotate stream, gain folded into the reader";
  // LayerNorm by its definition, of what a writer wrote; folded, the writer writes no mean.
  const Matrix<double> read = fixed_probe<double>(5, 3, 4);
  const Matrix<double> writer = fixed_probe<double>(3, 6, 5);
  Matrix<double> layernorm = read * writer;
  for (Index n = 0; n < layernorm.rows(); ++n) {
    const double mean = layernorm.row(n).mean();
    const double variance = layernorm.row(n).squaredNorm() / 6 - mean * mean;
    layernorm.row(n) = (layernorm.row(n).array() - mean) / std::sqrt(variance);
  }
  EXPECT_LT(relative(layernorm * weight, rms(read * without_mean(writer)) * weight), 1e-13)
      << "LayerNorm folded: remove stream mean, then RMS";
  EXPECT_GT(relative(rmsnorm, rms(without_mean(x)) * gain.asDiagonal() * weight), 1e-2)
      << "RMSNorm: remove stream mean";
}

}  // namespace
}  // namespace attnsym
