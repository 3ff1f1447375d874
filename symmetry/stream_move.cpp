#include "symmetry/stream_move.hpp"

#include <algorithm>

#include "symmetry/errors.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

// In pieces: large tables are in memory once.
void write(const StreamMove& move, Matrix<double>& rows) {
  constexpr Index at_once = 4096;
  for (Index first = 0; rows.cols() > 0 && first < rows.rows(); first += at_once) {
    auto some = rows.middleRows(first, std::min(at_once, rows.rows() - first));
    some = moved_rows(move, some);
  }
}

void write(const StreamMove& move, RowVector<double>& row) {
  if (row.size() > 0) row = moved_rows(move, row).row(0);
}

void read(const StreamMove& move, Matrix<double>& weight) {
  if (weight.size() == 0) return;
  require_same_size("a move of the stream and the model", move.matrix.rows(), weight.rows());
  weight = (move.matrix.transpose() * weight).eval();
}

void move_attention(const StreamMove& move, AttentionWeights<double>& weights) {
  for (KvGroup<double>& group : weights.groups) {
    read(move, group.key);
    read(move, group.value);
    for (QueryHead<double>& reader : group.readers) {
      read(move, reader.query);
      read(move, reader.gate);
      write(move, reader.output);
    }
  }
  write(move, weights.output_bias);
}

// @param ends_in_stream  whether what the transform makes is read by embeddings, which move with the stream
void move_transform(const StreamMove& move, Transform<double>& transform, bool ends_in_stream) {
  read(move, transform.dense);
  if (!ends_in_stream || transform.dense.size() == 0) return;
  if (!move.is_permutation())
    throw ShapeError("a stream whose embeddings read behind an activation has no symmetry but its places");
  write(move, transform.dense);
  write(move, transform.bias);
  transform.norm = act(move, transform.norm);
}

}  // namespace

bool StreamMove::is_signed_permutation() const {
  const auto is_sign = [](double x) { return x == 0 || x == 1 || x == -1; };
  return std::all_of(matrix.data(), matrix.data() + matrix.size(), is_sign);
}

bool StreamMove::is_permutation() const { return is_signed_permutation() && (matrix.array() >= 0).all(); }

bool StreamMove::operator==(const StreamMove& other) const {
  return matrix.rows() == other.matrix.rows() && matrix == other.matrix;
}

StreamMove identity_stream(Index width) { return {Matrix<double>::Identity(width, width)}; }

StreamMove compose(const StreamMove& g, const StreamMove& h) {
  require_same_size("moves of a stream", g.matrix.rows(), h.matrix.rows());
  return {h.matrix * g.matrix};
}

StreamMove inverse(const StreamMove& g) { return {g.matrix.transpose()}; }

StreamMove identity_like(const StreamMove& g) { return identity_stream(g.matrix.rows()); }

Matrix<double> moved_rows(const StreamMove& move, const Matrix<double>& rows) {
  require_same_size("a move of the stream and the model", move.matrix.rows(), rows.cols());
  return rows * move.matrix;
}

Norm<double> act(const StreamMove& move, const Norm<double>& norm) {
  Norm<double> moved = norm;
  if (norm.gain.size() == 0) return moved;
  if (move.is_signed_permutation()) {
    moved.gain = norm.gain * move.matrix.cwiseAbs();
  } else if (norm.gain.maxCoeff() != norm.gain.minCoeff()) {
    throw ShapeError("a stream cannot be rotated where a norm has gains of its own: fold these first");
  }
  write(move, moved.bias);
  return moved;
}

Block<double> act(const StreamMove& move, const Block<double>& block) {
  Block<double> moved = block;
  for (Norm<double>* norm :
       {&moved.attention_input, &moved.attention_output, &moved.mlp_input, &moved.mlp_output})
    *norm = act(move, *norm);
  move_attention(move, moved.attention);
  read(move, moved.mlp.up);
  read(move, moved.mlp.gate);
  write(move, moved.mlp.down);
  write(move, moved.mlp.down_bias);
  return moved;
}

TransformerWeights<double> act(const StreamMove& move, TransformerWeights<double> moved) {
  for (Matrix<double>* rows : {&moved.embedding, &moved.positions, &moved.token_types}) write(move, *rows);
  const bool is_tied = moved.unembedding.size() == 0;
  if (moved.head_transform.dense.size() == 0) write(move, moved.unembedding);
  move_transform(move, moved.head_transform, is_tied);
  for (Task<double>& task : moved.tasks) {
    if (task.transform.dense.size() == 0) read(move, task.output);
    move_transform(move, task.transform, false);
  }
  moved.embedding_norm = act(move, moved.embedding_norm);
  moved.final_norm = act(move, moved.final_norm);
  for (Block<double>& block : moved.blocks) block = act(move, block);
  return moved;
}

}  // namespace attnsym
