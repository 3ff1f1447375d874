#include "symmetry/canonical_model.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "symmetry/matrix_products.hpp"
#include "symmetry/random.hpp"
#include "symmetry/svd.hpp"
#include "symmetry/thin_qr.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t neuron_salt = 0x6d6c70;
constexpr std::uint64_t stream_salt = 0x737472;

double sign_of(double x) { return x < 0 ? -1 : 1; }

// What a neuron is probed by: its column, and its bias as one more entry.
RowVector<double> probed(const Matrix<double>& columns, const RowVector<double>& bias) {
  const RowVector<double> probe = fixed_probe<double>(1, columns.rows() + 1, neuron_salt);
  RowVector<double> result = multiply(probe.head(columns.rows()), columns);
  if (bias.size() > 0) result += probe(columns.rows()) * bias;
  return result;
}

RowVector<double> lengths(const Matrix<double>& columns, const RowVector<double>& bias) {
  RowVector<double> squares = columns.colwise().squaredNorm();
  if (bias.size() > 0) squares += bias.cwiseAbs2();
  return squares.cwiseSqrt();
}

// Places in ascending order of a number.
Permutation ascending(const RowVector<double>& numbers) {
  std::vector<Index> order(static_cast<std::size_t>(numbers.size()));
  std::iota(order.begin(), order.end(), Index{0});
  std::ranges::stable_sort(order, {}, [&](Index k) { return numbers(k); });
  return inverse(Permutation::from_image(std::move(order)));
}

// All rows of tables that live in the stream's basis: not those that read behind a transform.
Matrix<double> all_rows(const TransformerWeights<double>& outside) {
  Index count = 0;
  std::vector<const Matrix<double>*> tables{&outside.embedding, &outside.positions, &outside.token_types};
  if (outside.head_transform.dense.size() == 0) tables.push_back(&outside.unembedding);
  for (const Matrix<double>* table : tables) count += table->rows();
  Matrix<double> rows(count, outside.embedding.cols());
  Index at = 0;
  for (const Matrix<double>* table : tables) {
    if (table->size() == 0) continue;
    rows.middleRows(at, table->rows()) = *table;
    at += table->rows();
  }
  return rows.topRows(at);
}

// Orthonormal columns, the last of them that of ones.
Matrix<double> fixed_frame(Index width) {
  Matrix<double> frame = Matrix<double>::Zero(width, width);
  for (Index k = 1; k < width; ++k) {
    frame.col(k - 1).head(k).setOnes();
    frame(k, k - 1) = -static_cast<double>(k);
    frame.col(k - 1).normalize();
  }
  frame.col(width - 1).setConstant(1 / std::sqrt(static_cast<double>(width)));
  return frame;
}

// The right singular vectors, longest first, signed by a probe of what they see.
Matrix<double> principal_axes(const Matrix<double>& rows, Index count) {
  Matrix<double> axes = right_singular_vectors(ThinQr<double>(rows).triangle()).leftCols(count);
  const RowVector<double> probe = fixed_probe<double>(1, rows.rows(), stream_salt);
  const RowVector<double> seen = multiply(multiply(probe, rows), axes);
  for (Index k = 0; k < count; ++k) axes.col(k) *= sign_of(seen(k));
  return axes;
}

// @param kind  which signs are free
Matrix<double> in_order_of_probes(const Matrix<double>& rows, TransformerGroup::Stream kind) {
  const RowVector<double> seen = multiply(fixed_probe<double>(1, rows.rows(), stream_salt), rows);
  Index largest = 0;
  seen.cwiseAbs().maxCoeff(&largest);
  const double common = kind == TransformerGroup::Stream::Places ? 1 : sign_of(seen(largest));
  const bool signs_are_free = kind == TransformerGroup::Stream::SignedPermutations;
  const RowVector<double> numbers =
      signs_are_free ? RowVector<double>(-seen.cwiseAbs()) : RowVector<double>(-common * seen);
  const Permutation order = ascending(numbers);
  Matrix<double> q = Matrix<double>::Zero(seen.size(), seen.size());
  for (Index k = 0; k < seen.size(); ++k) q(k, order(k)) = signs_are_free ? sign_of(seen(k)) : common;
  return q;
}

}  // namespace

NeuronMove canonical_neurons(const MlpConfig& config, const Mlp<double>& mlp) {
  NeuronMove move = identity_move(config.width);
  const bool is_relu = config.activation == Activation::Relu;
  const RowVector<double> up = lengths(mlp.up, mlp.up_bias);
  const RowVector<double> down = mlp.down.rowwise().norm().transpose();
  const RowVector<double> gate = config.gated ? lengths(mlp.gate, mlp.gate_bias) : up;
  const RowVector<double> up_probe = probed(mlp.up, mlp.up_bias);
  for (Index k = 0; k < config.width; ++k) {
    if (!(up(k) > 0 && down(k) > 0 && gate(k) > 0)) continue;
    if (config.gated && is_relu) {
      const double length = std::cbrt(gate(k)) * std::cbrt(up(k)) * std::cbrt(down(k));
      move.gate_scale(k) = length / gate(k);
      move.scale(k) = sign_of(up_probe(k)) * length / up(k);
    } else if (config.gated) {
      move.scale(k) = sign_of(up_probe(k)) * std::sqrt(down(k) / up(k));
    } else if (is_relu) {
      move.scale(k) = std::sqrt(down(k) / up(k));
    }
  }
  const RowVector<double> read =
      config.gated ? RowVector<double>(probed(mlp.gate, mlp.gate_bias).cwiseProduct(move.gate_scale))
                   : RowVector<double>(up_probe.cwiseProduct(move.scale));
  move.order = ascending(read);
  return move;
}

// A neuron counts with the length of its gate where that may be scaled, so that the scale does not.
Matrix<double> passed_through(const MlpConfig& config, const Block<double>& block,
                              const Matrix<double>& rows) {
  const Index count = rows.rows();
  Matrix<double> passed = Matrix<double>::Zero(2 * count, rows.cols());
  for (const KvGroup<double>& group : block.attention.groups) {
    for (const QueryHead<double>& reader : group.readers)
      add_product(passed.topRows(count), multiply(rows, group.value), reader.output);
  }
  Matrix<double> neurons = multiply(rows, block.mlp.up);
  if (config.gated && config.activation == Activation::Relu)
    neurons *= lengths(block.mlp.gate, block.mlp.gate_bias).asDiagonal();
  passed.bottomRows(count) = multiply(neurons, block.mlp.down);
  return passed;
}

StreamMove canonical_stream(const TransformerGroup& group, const TransformerWeights<double>& outside,
                            const std::function<Block<double>(Index layer)>& block) {
  const Index width = group.config().model_width;
  Matrix<double> rows = all_rows(outside);
  for (Index layer = 0; rows.rows() < 2 * width && layer < group.config().blocks(); ++layer) {
    const Matrix<double> more = passed_through(group.config().mlp, block(layer), rows);
    const Index before = rows.rows();
    rows.conservativeResize(before + more.rows(), Eigen::NoChange);
    rows.bottomRows(more.rows()) = more * (rows.topRows(before).norm() / std::max(more.norm(), 1e-300));
  }
  switch (group.stream()) {
    case TransformerGroup::Stream::Fixed:
      return identity_stream(width);
    case TransformerGroup::Stream::Places:
    case TransformerGroup::Stream::Permutations:
    case TransformerGroup::Stream::SignedPermutations:
      return {in_order_of_probes(rows, group.stream())};
    case TransformerGroup::Stream::Orthogonal:
      return {principal_axes(rows, width)};
    case TransformerGroup::Stream::Centred:
      break;
  }
  // In coordinates without a mean.
  const Matrix<double> frame = fixed_frame(width);
  Matrix<double> axes = frame;
  axes.leftCols(width - 1) = multiply(frame.leftCols(width - 1),
                                      principal_axes(multiply(rows, frame.leftCols(width - 1)), width - 1));
  return {multiply_nt(axes, frame)};
}

void gather_positions(const TransformerGroup& group, TransformerWeights<double>& outside) {
  if (group.config().class_token) {
    auto patches = outside.positions.bottomRows(outside.positions.rows() - 1);
    const RowVector<double> of_patches = patches.colwise().mean();
    patches.rowwise() -= of_patches;
    outside.token_types.row(0) += of_patches;
    outside.token_types.row(1) += outside.positions.row(0);
    outside.positions.row(0).setZero();
    return;
  }
  const Index unread = group.config().position_offset;
  outside.positions.topRows(unread).setZero();
  if (!group.shifts_tables()) return;
  auto read = outside.positions.bottomRows(outside.positions.rows() - unread);
  const RowVector<double> common = read.colwise().mean();
  read.rowwise() -= common;
  outside.embedding.rowwise() += common;
}

}  // namespace attnsym
