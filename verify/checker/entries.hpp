#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "symmetry/stored_transformer.hpp"
#include "verify/rounding_law.hpp"

namespace attnsym {

/// Two stored matrices entry by entry, in units of what rounding their numbers explains [N7].
struct EntryComparison {
  double ratio = 0;         ///< of the whole
  double row_ratio = 0;     ///< the largest of a row, in units in which `limit` is its limit
  double column_ratio = 0;  ///< the largest of a column, likewise
  Index row = -1;           ///< where these are
  Index column = -1;
  double aligned = 0;     ///< the singular value that the difference was seen to have, 1 for the largest that
                          ///< independent errors leave
  double resolution = 0;  ///< noise / norm: the smallest relative difference that could be seen
  double limit = 2;       ///< the ratio up to which rounding is the explanation, see ratio_limit
  double hidden = 0;      ///< the relative difference that agreement may hide
  bool is_exact = true;   ///< no entry differs

  /// The largest of all, in units of `limit`; NaN stays.
  double largest_ratio() const;

  /// False on NaN, and where agreement would hide more than coarsest_resolution.
  bool agrees() const;
};

/// The worse of two.
EntryComparison worse(const EntryComparison& x, const EntryComparison& y);

/// How two matrices are judged [N7].
struct EntryRules {
  Index inner_width = 0;  ///< how many numbers the tools that made the files added up for each entry
  Index own_width = 0;    ///< and how many this program did, in double
  int sources = 2;  ///< see chance_limit: two where both matrices are as stored, but for places and signs
  bool independent =
      true;  ///< errors of different entries are: then a difference that is aligned is none of rounding
  double surprise = surprise_of(1e4);
  bool skip_repeated = false;  ///< whole lines that A has twice count once for `aligned`: they round alike
};

/// Adds up a comparison of matrices that come in chunks, of whole rows or of whole columns.
class EntrySums {
 public:
  enum class Chunks { Rows, Columns };
  explicit EntrySums(EntryRules rules, Chunks chunks = Chunks::Rows) : rules_(rules), chunks_(chunks) {}

  /// @throws ShapeError on different shapes
  void add(const StoredMatrix& a, const StoredMatrix& b);

  EntryComparison result() const;

 private:
  // Sums over one line of a difference, in units of 4^exponent so that none leaves the range of double.
  struct Line {
    double squares = 0;
    LineVariances variances;
    int exponent = 0;

    void add(Line other);
    void rescale(int to);
    // In units in which 2 times the allowance is the limit, whatever the line's own.
    double ratio(const EntryRules& rules, double allowance) const;
  };

  // One chunk, and its sums by line. Few chunks are looked at in detail: how the variances of a line spread
  // costs as much as all the rest, and large matrices have many lines alike.
  struct Chunk {
    const StoredMatrix& a;
    const StoredMatrix& b;
    bool by_rows;
    bool detailed;
    Matrix<double> once;  // the difference, or its transpose, times probes
    std::vector<Line> rows;
    std::vector<Line> columns;
    Line size_a;
    Line size_b;

    Chunk(const StoredMatrix& of_a, const StoredMatrix& of_b, const Matrix<double>& probes, bool in_rows,
          bool in_detail);

    const std::vector<Line>& whole() const { return by_rows ? rows : columns; }
    const std::vector<Line>& open() const { return by_rows ? columns : rows; }

    // Of one column. Computed anew where they are wanted: memory for all of them would cost more.
    Eigen::ArrayXd difference(Index column) const;
    Eigen::ArrayXd variance(Index column) const;

    // With the spread of their variances, and scaled.
    Line row_by_itself(Index i) const;
    Line column_by_itself(Index k) const;
    Line in_detail(std::size_t line) const;  // a whole one
  };

  void note_whole(const Chunk& chunk);
  void note_open(const std::vector<Line>& lines);
  double allowance() const;
  void note_alignment(const Chunk& chunk);
  bool is_repeated(const RowVector<double>& line);
  double aligned() const;

  EntryRules rules_;
  Chunks chunks_;
  double whole_ratio_ = 0;  // the largest of a line that chunks have whole
  Index whole_place_ = -1;
  Index whole_count_ = 0;
  Index chunk_count_ = 0;
  Index counted_ = 0;         // whole lines that count for `aligned`
  Index detailed_count_ = 0;  // and are in detailed chunks
  std::vector<Line> open_;    // lines that cross all chunks
  Line total_;
  Line size_a_;  // `squares` of values, `variances.sum` of radii
  Line size_b_;
  bool differs_ = false;

  // W D with D the difference and W dividing whole lines by their standard deviation: its product with
  // probes, and that of its transpose with the result.
  Matrix<double> probes_;
  Matrix<double> twice_;
  RowVector<double> once_squares_;
  RowVector<double> open_variances_;  // of detailed chunks
  double largest_share_ = 0;
  std::unordered_set<std::uint64_t> lines_of_a_;
};

/// @throws ShapeError on different shapes
EntryComparison compare_entries(const StoredMatrix& a, const StoredMatrix& b, const EntryRules& rules);

}  // namespace attnsym
