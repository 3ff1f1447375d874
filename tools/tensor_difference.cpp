#include "tools/tensor_difference.hpp"

#include <algorithm>
#include <cmath>

#include "checkpoint/stored_numbers.hpp"

namespace attnsym {
namespace {

constexpr Index most_numbers = Index{1} << 24;
constexpr std::size_t most_named = 8;

// A row of both, as the only column of a matrix.
struct Row {
  StoredMatrix a;
  StoredMatrix b;

  explicit Row(Index length) {
    for (StoredMatrix* side : {&a, &b}) *side = {Matrix<double>(length, 1), Matrix<double>(length, 1)};
  }

  void read(const StoredTensor& from_a, const StoredTensor& from_b, Index row) {
    const auto size = static_cast<std::size_t>(a.value.size());
    const auto offset = static_cast<std::size_t>(row) * size;
    const auto read_side = [&](const StoredTensor& tensor, StoredMatrix& side) {
      read_numbers(tensor, offset, {side.value.data(), size}, {side.radius.data(), size}, Radii::Quantized);
    };
    read_side(from_a, a);
    read_side(from_b, b);
  }
};

// The rows that differ, side by side, as many as are kept.
class KeptRows {
 public:
  explicit KeptRows(Index most) : most_(most) {}

  void add(const StoredMatrix& row) {
    if (static_cast<Index>(rows_.size()) < most_) rows_.push_back(row);
  }

  StoredMatrix side_by_side() const {
    const Index length = rows_.front().value.rows();
    const auto count = static_cast<Index>(rows_.size());
    StoredMatrix result{Matrix<double>(length, count), Matrix<double>(length, count)};
    for (Index k = 0; k < count; ++k) {
      result.value.col(k) = rows_[static_cast<std::size_t>(k)].value;
      result.radius.col(k) = rows_[static_cast<std::size_t>(k)].radius;
    }
    return result;
  }

 private:
  Index most_;
  std::vector<StoredMatrix> rows_;
};

Index rows_of(const std::vector<std::int64_t>& shape) {
  const auto axis = std::ranges::find_if(shape, [](std::int64_t extent) { return extent > 1; });
  return axis == shape.end() || axis + 1 == shape.end() ? 1 : *axis;
}

}  // namespace

std::optional<TensorDifference> tensor_difference(const StoredTensor& a, const StoredTensor& b) {
  if (a.info->shape != b.info->shape) return std::nullopt;
  const auto size = static_cast<Index>(element_count(a.info->shape).value());
  TensorDifference result;
  if (size == 0) return result;
  result.rows = rows_of(a.info->shape);
  const Index length = size / result.rows;
  Row row(length);
  KeptRows kept_a(std::max<Index>(1, most_numbers / length));
  KeptRows kept_b = kept_a;
  Index changed = 0;
  double square = 0;
  double change = 0;
  for (Index i = 0; i < result.rows; ++i) {
    row.read(a, b, i);
    square += row.a.value.squaredNorm();
    const Index here = (row.a.value.array() != row.b.value.array()).count();
    if (here == 0) continue;
    changed += here;
    change += (row.b.value - row.a.value).squaredNorm();
    kept_a.add(row.a);
    kept_b.add(row.b);
    if (result.first_changed.size() < most_named) result.first_changed.push_back(i);
    ++result.changed_rows;
  }
  if (result.changed_rows == 0) return result;
  result.difference = matrix_difference(kept_a.side_by_side(), kept_b.side_by_side());
  result.difference.relative = square > 0 ? std::sqrt(change / square) : 1;
  result.difference.changed = static_cast<double>(changed) / static_cast<double>(result.rows * length);
  return result;
}

}  // namespace attnsym
