#pragma once

#include "symmetry/stored_transformer.hpp"

namespace attnsym {

/// Two stored matrices entry by entry, in units of what rounding their numbers explains [N7].
struct EntryComparison {
  double ratio = 0;         ///< of the whole
  double row_ratio = 0;     ///< the largest of a row
  double column_ratio = 0;  ///< the largest of a column
  Index row = -1;           ///< where these are
  Index column = -1;
  double resolution = 0;  ///< noise / norm: the smallest relative difference that could be seen
  double limit = 2;       ///< the ratio up to which rounding is the explanation, see ratio_limit
  double hidden = 0;      ///< the relative difference that agreement may hide
  bool is_exact = true;   ///< no entry differs

  /// The largest of the three; NaN stays.
  double largest_ratio() const;

  /// False on NaN, and where agreement would hide more than coarsest_resolution.
  bool agrees() const;
};

/// The worse of two.
EntryComparison worse(const EntryComparison& x, const EntryComparison& y);

/// Adds up a comparison of matrices that come in chunks, of whole rows or of whole columns. The ratio of a
/// row or column of n entries counts for 1 / (1 + n^(-1/2)) of itself: few numbers may by chance all be
/// rounded badly.
class EntrySums {
 public:
  enum class Chunks { Rows, Columns };
  explicit EntrySums(Chunks chunks = Chunks::Rows) : chunks_(chunks) {}

  /// @throws ShapeError on different shapes
  void add(const StoredMatrix& a, const StoredMatrix& b);

  /// @param inner_width  how many numbers were added up for each entry by the tools that made the files
  EntryComparison result(Index inner_width) const;

 private:
  // Rows or columns, with the largest ratio among those that are complete.
  struct Lines {
    double ratio = 0;
    Index place = -1;

    void note(const RowVector<double>& squares, const RowVector<double>& variances, Index length,
              Index first);
  };

  Chunks chunks_;
  Lines whole_;  // lines of the chunks
  Index whole_count_ = 0;
  RowVector<double> open_squares_;  // lines that cross all chunks
  RowVector<double> open_variances_;
  double norm_a_ = 0;  // squared, as all of these
  double norm_b_ = 0;
  double radius_a_ = 0;
  double radius_b_ = 0;
};

/// @throws ShapeError on different shapes
EntryComparison compare_entries(const StoredMatrix& a, const StoredMatrix& b, Index inner_width);

}  // namespace attnsym
