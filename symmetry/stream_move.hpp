#pragma once

#include "symmetry/group.hpp"
#include "symmetry/transformer_weights.hpp"

namespace attnsym {

/// A change of basis of the residual stream: a token x becomes x Q, Q orthogonal, D x D [N12].
struct StreamMove {
  Matrix<double> matrix;

  /// Whether every entry is 0, 1 or -1: then gains may stay in place, as they change places only.
  bool is_signed_permutation() const;

  /// Whether it changes places alone, without signs.
  bool is_permutation() const;

  bool operator==(const StreamMove& other) const;
};

StreamMove identity_stream(Index width);
StreamMove compose(const StreamMove& g, const StreamMove& h);
StreamMove inverse(const StreamMove& g);
StreamMove identity_like(const StreamMove& g);

/// Rows that are written to the stream, or that read the normalised stream by inner products: W Q.
Matrix<double> moved_rows(const StreamMove& move, const Matrix<double>& rows);

/// @throws ShapeError unless Q is a signed permutation, or all gains are equal.
Norm<double> act(const StreamMove& move, const Norm<double>& norm);

/// @throws as for its norms
Block<double> act(const StreamMove& move, const Block<double>& block);

/// @throws as for its norms
TransformerWeights<double> act(const StreamMove& move, TransformerWeights<double> weights);

static_assert(GroupElement<StreamMove>);
static_assert(LeftActsOn<StreamMove, Block<double>>);
static_assert(LeftActsOn<StreamMove, TransformerWeights<double>>);

}  // namespace attnsym
