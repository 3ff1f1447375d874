#include "verify/certificate.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/symmetry_group.hpp"
#include "verify/rounding.hpp"
#include "verify/witness.hpp"

namespace attnsym {
namespace {

constexpr Index block_rows = 256;  // of a D x D product held at a time

// Sums over the entries of a difference of circuits and of its variance, in total, by row and by column.
struct Squares {
  RowVector<double> rows;
  RowVector<double> columns;
};

Squares zero_squares(const StoredCircuit& c) {
  return {RowVector<double>::Zero(c.value.left.rows()), RowVector<double>::Zero(c.value.right.rows())};
}

void add_block(Squares& squares, const Matrix<double>& entries, Index begin) {
  squares.rows.segment(begin, entries.rows()) += entries.rowwise().sum().transpose();
  squares.columns += entries.colwise().sum();
}

Matrix<double> product_rows(const Matrix<double>& left, const Matrix<double>& right, Index begin,
                            Index count) {
  return left.middleRows(begin, count) * right.transpose();
}

// N7 entry by entry: V_pq = sum_k var(L_pk) R_qk^2 + L_pk^2 var(R_qk).
Matrix<double> variance_rows(const StoredCircuit& c, Index begin, Index count) {
  return product_rows(c.variance.left, c.value.right.cwiseAbs2(), begin, count) +
         product_rows(c.value.left.cwiseAbs2(), c.variance.right, begin, count);
}

bool within(const RowVector<double>& difference, const RowVector<double>& variance, double limit) {
  return (difference.array() <= limit * limit * variance.array()).all() &&
         difference.sum() <= limit * limit * variance.sum();
}

double unit_of(const StoredCircuit& c) {
  return std::max(effective_unit(c.value.left, c.variance.left),
                  effective_unit(c.value.right, c.variance.right));
}

// Whether claim.left claim.right^T is b within the rounding of a and b.
bool agrees(const Circuit<double>& claim, const StoredCircuit& a, const StoredCircuit& b) {
  Squares difference = zero_squares(b);
  Squares variance = zero_squares(b);
  for (Index begin = 0; begin < b.value.left.rows(); begin += block_rows) {
    const Index count = std::min(block_rows, b.value.left.rows() - begin);
    const Matrix<double> apart = product_rows(claim.left, claim.right, begin, count) -
                                 product_rows(b.value.left, b.value.right, begin, count);
    add_block(difference, apart.cwiseAbs2(), begin);
    add_block(variance, variance_rows(a, begin, count) + variance_rows(b, begin, count), begin);
  }
  const double limit = ratio_limit(b.value.left.cols(), std::max(unit_of(a), unit_of(b)));
  return within(difference.rows, variance.rows, limit) && within(difference.columns, variance.columns, limit);
}

// The circuit of A against that of B, and twice with one factor transported.
bool circuit_holds(const StoredCircuit& a, const Circuit<double>& moved, const StoredCircuit& b) {
  return agrees(a.value, a, b) && agrees({moved.left, b.value.right}, a, b) &&
         agrees({b.value.left, moved.right}, a, b);
}

std::string failure(const char* what, Index head, Index image) {
  return std::string("the ") + what + " circuit of head " + std::to_string(head) +
         " of A is not that of head " + std::to_string(image) + " of B within rounding";
}

std::optional<std::string> refute_membership(const StoredAttention& a, const StoredAttention& b,
                                             const AttentionElement<double>& b_from_a) {
  require_fits(a.weights, a.config);
  require_fits(b.weights, b.config);
  if (!(a.config == b.config)) return "the modules have different shapes";
  if (!symmetry_of(a.config).contains(b_from_a)) return "the transport is not in the group of these modules";
  return std::nullopt;
}

}  // namespace

std::optional<std::string> refute_identity(const StoredAttention& a, const StoredAttention& b,
                                           const AttentionElement<double>& b_from_a) {
  const StoredAttention from = with_all_biases(a);
  const StoredAttention to = with_all_biases(b);
  if (const auto reason = refute_membership(from, to, b_from_a)) return reason;
  if (act(b_from_a, from.weights) == to.weights) return std::nullopt;
  return "the transport does not carry the weights of A exactly onto those of B";
}

std::optional<std::string> refute_equivalence(const StoredAttention& a, const StoredAttention& b,
                                              const AttentionElement<double>& b_from_a) {
  const StoredAttention from = with_all_biases(a);
  const StoredAttention to = with_all_biases(b);
  if (const auto reason = refute_membership(from, to, b_from_a)) return reason;
  const AttentionWeights<double> moved = act(b_from_a, from.weights);
  const Permutation image = head_image(b_from_a);
  for (Index head = 0; head < image.size(); ++head) {
    const bool qk = circuit_holds(stored_qk_circuit(from, head), qk_circuit(to.config, moved, image(head)),
                                  stored_qk_circuit(to, image(head)));
    if (!qk) return failure("QK", head, image(head));
    const bool vo = circuit_holds(stored_vo_circuit(from, head), vo_circuit(to.config, moved, image(head)),
                                  stored_vo_circuit(to, image(head)));
    if (!vo) return failure("OV", head, image(head));
  }
  if (!compare_constants(from, to).explained_by_rounding())
    return "the constant outputs differ by more than rounding";
  return std::nullopt;
}

double evidence_resolution(const StoredAttention& a, const StoredAttention& b,
                           const AttentionElement<double>& b_from_a) {
  const Permutation image = head_image(b_from_a);
  double worst = 0;
  for (Index head = 0; head < image.size(); ++head) {
    const double qk = std::hypot(relative_noise(stored_qk_circuit(a, head)),
                                 relative_noise(stored_qk_circuit(b, image(head))));
    const double vo = std::hypot(relative_noise(stored_vo_circuit(a, head)),
                                 relative_noise(stored_vo_circuit(b, image(head))));
    worst = std::max({worst, qk, vo});
  }
  return worst;
}

std::optional<std::string> refute_witness(const StoredAttention& a, const StoredAttention& b,
                                          const Matrix<double>& input, double factor, std::uint64_t seed) {
  if (input.rows() < 3) return "a witness needs at least three tokens";
  if (!input.allFinite()) return "the witness is not finite";
  const Witness measured = measure_witness(a, b, input, seed);
  if (std::isfinite(measured.gap) && measured.gap >= factor * measured.noise) return std::nullopt;
  return "the witness does not separate the modules: its gap is " +
         std::to_string(measured.gap / measured.noise) + " times its rounding noise";
}

}  // namespace attnsym
