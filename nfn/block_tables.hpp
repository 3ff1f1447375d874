#pragma once

#include "nfn/weight_features.hpp"

namespace attnsym {

/// Rows that tables have.
struct TableRows {
  Index fixed = 0;
  Index model = 0;
  Index unit = 0;
  Index pair = 0;

  bool operator==(const TableRows&) const = default;
};

/// Numbers that no gauge and no order of heads moves, sorted by the permutations that do [N13].
template <Scalar S>
struct BlockTables {
  Index width = 0;  ///< D
  Index units = 0;  ///< DA
  Index batch = 0;  ///< n
  Matrix<S> fixed;  ///< F x n: moved by nothing
  Matrix<S> model;  ///< M x n D: columns (checkpoint, j), moved by P_D
  Matrix<S> unit;   ///< U x n DA: columns (checkpoint, k), moved by P_DA
  Matrix<S> pair;   ///< P D x n DA: rows (., j), columns (checkpoint, k), moved by both

  /// Entries are whatever is in memory.
  static BlockTables uninitialized(const TableRows& rows, Index width, Index units, Index batch);

  TableRows rows() const { return {fixed.rows(), model.rows(), unit.rows(), pair.rows() / width}; }
};

/// The tables of a block, d channels; every row once, in this order. What P_D would move is fixed in a
/// residual block.
///
///                      plain                        residual
///     fixed   entries  bB at (c, q)                 the same, gamma and beta at (c, q) if affine
///             others   Q K^T at (c, p, q), 1        Q K^T and V O at (c, p, q), 1
///     model   entries  gamma, beta at c if affine   -
///             others   V O at (c, p)                -
///     unit    entries  B at (c, q), bA at c         the same, A at (c, p)
///     pair    entries  A at c                       -
///
/// Q K^T and V O stand for sums over heads. Entries determine A, B, bA, bB, gamma and beta.
TableRows entry_rows(const BlockShape& shape, Index channels);
TableRows feature_rows(const BlockShape& shape, Index channels);

/// The rows of entries alone.
template <Scalar S>
BlockTables<S> entry_tables(const WeightFeatures<S>& features);

/// All rows.
template <Scalar S>
BlockTables<S> feature_tables(const WeightFeatures<S>& features);

/// Sets A, B, bA, bB, gamma and beta from tables that begin with their rows: the inverse of entry_tables, and
/// its transpose.
template <Scalar S>
void set_entries(const BlockTables<S>& tables, WeightFeatures<S>& features);

/// Adds to Q, K, V and O of `gradient` the derivative by them of <cotangent, feature_tables(features)>.
template <Scalar S>
void pull_back_products(const WeightFeatures<S>& features, const BlockTables<S>& cotangent,
                        WeightFeatures<S>& gradient);

}  // namespace attnsym
