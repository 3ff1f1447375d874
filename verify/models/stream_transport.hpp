#pragma once

#include <optional>

#include "symmetry/permutation.hpp"
#include "symmetry/stored_attention.hpp"
#include "symmetry/stored_transformer.hpp"

namespace attnsym {

/// The change of basis of the residual stream that carries a model A to B: a token x of A is x Q in B, Q
/// orthogonal [N12].
class StreamTransport {
 public:
  enum class Kind { Identity, SignedPermutation, Orthogonal };

  static StreamTransport identity(Index width);

  /// Entry k goes to place order(k), times sign(k), which is 1 or -1.
  static StreamTransport signed_permutation(Permutation order, RowVector<double> sign);

  static StreamTransport orthogonal(Matrix<double> q);

  Kind kind() const { return kind_; }

  /// Whether entries change places alone.
  bool keeps_signs() const;

  /// Rows that are written to the stream, n x D: W Q.
  StoredMatrix written(StoredMatrix rows) const;

  /// What reads the stream, D x n: Q^T W.
  StoredMatrix read(StoredMatrix weight) const;

  /// A norm's gain, entry by entry: its places, without signs. @pre not Orthogonal
  StoredMatrix placed(StoredMatrix row) const;

  /// Whole modules.
  StoredAttention moved(StoredAttention module) const;

  /// Q, D x D.
  Matrix<double> matrix() const;

 private:
  StreamTransport(Kind kind, Index width) : kind_(kind), order_(Permutation::identity(width)) {}

  Kind kind_;
  Permutation order_;
  RowVector<double> sign_;
  Matrix<double> q_;
  Matrix<double> squares_;  // of the entries of q, for variances
};

/// "the identity", "a permutation", "a signed permutation", "an orthogonal matrix"
const char* name_of(const StreamTransport& transport);

/// Which transports come into question.
struct StreamSearch {
  bool rigid = false;       ///< no orthogonal matrices besides signed permutations
  bool centred = false;     ///< all rows add up to zero, and so they shall behind the transport
  bool keeps_mean = false;  ///< the row of ones stays, up to its sign
};

/// The transport by which rows of A, n x D, may become the rows of B; the simplest kind that does. What it
/// returns has to be checked in full.
/// @param stored_rows  how many of the first rows are as stored; others were computed from stored ones
/// @returns nothing if none was found: there is none, or the rows span too little to tell
std::optional<StreamTransport> find_stream_transport(const StoredMatrix& a, const StoredMatrix& b,
                                                     Index stored_rows, const StreamSearch& search);

/// The orthogonal matrix nearest to one that is nearly so.
/// @param keeps_mean  it maps the row of ones to itself, or to minus itself
Matrix<double> polished_transport(Matrix<double> q, bool keeps_mean);

/// A step of least squares for an orthogonal Q with from Q = to; Q itself where that is no better.
Matrix<double> refined_transport(const Matrix<double>& from, const Matrix<double>& to,
                                 const Matrix<double>& q);

}  // namespace attnsym
