#include "tools/tensor_difference.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/stored_numbers.hpp"
#include "verify/verdict.hpp"

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

// The rows that differ as columns, as many as are kept.
class KeptRows {
 public:
  KeptRows(Index length, Index most) : a_(length, most), b_(length, most) {}

  void add(const Row& row) {
    if (count_ == a_.cols()) return;
    a_.col(count_) = row.a.value;
    b_.col(count_) = row.b.value;
    squares_ += row.a.radius.squaredNorm() + row.b.radius.squaredNorm();
    ++count_;
  }

  MatrixDifference difference() {
    a_.conservativeResize(Eigen::NoChange, count_);
    b_.conservativeResize(Eigen::NoChange, count_);
    return matrix_difference(a_, b_, std::sqrt(squares_ / 3));
  }

 private:
  Matrix<double> a_;
  Matrix<double> b_;
  Index count_ = 0;
  double squares_ = 0;  // of radii
};

Index rows_of(const std::vector<std::int64_t>& shape) {
  const auto axis = std::ranges::find_if(shape, [](std::int64_t extent) { return extent > 1; });
  return axis == shape.end() || axis + 1 == shape.end() ? 1 : *axis;
}

// Nothing where nothing differs.
std::optional<NamedDifference> named_difference(const std::optional<StoredTensor>& a,
                                                const std::optional<StoredTensor>& b) {
  if (!a) return NamedDifference{b->info->name, "only in B", {}};
  if (!b) return NamedDifference{a->info->name, "only in A", {}};
  const auto difference = tensor_difference(*a, *b);
  if (!difference) return NamedDifference{b->info->name, "another shape", {}};
  if (difference->changed_rows == 0) return std::nullopt;
  return NamedDifference{b->info->name, describe(difference->difference), *difference};
}

std::string rows_text(const TensorDifference& tensor) {
  if (tensor.changed_rows == tensor.rows) return {};
  std::string text =
      ", in " + std::to_string(tensor.changed_rows) + " of " + std::to_string(tensor.rows) + " rows:";
  for (const Index row : tensor.first_changed) text += " " + std::to_string(row);
  return tensor.changed_rows > static_cast<Index>(tensor.first_changed.size()) ? text + " ..." : text;
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
  KeptRows kept(length, std::clamp<Index>(most_numbers / length, 1, result.rows));
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
    kept.add(row);
    if (result.first_changed.size() < most_named) result.first_changed.push_back(i);
    ++result.changed_rows;
  }
  if (result.changed_rows == 0) return result;
  result.difference = kept.difference();
  result.difference.relative = square > 0 ? std::sqrt(change / square) : 1;
  result.difference.changed = static_cast<double>(changed) / static_cast<double>(result.rows * length);
  return result;
}

void note_difference(std::vector<NamedDifference>& list, const std::optional<StoredTensor>& a,
                     const std::optional<StoredTensor>& b) {
  if (!a && !b) return;
  const std::string& name = (b ? b : a)->info->name;
  if (std::ranges::find(list, name, &NamedDifference::tensor) != list.end()) return;
  if (auto one = named_difference(a, b)) list.push_back(*std::move(one));
}

std::string describe(const NamedDifference& one) {
  std::string text = one.tensor + ": " + one.kind;
  if (one.difference.changed_rows == 0) return text;
  const MatrixDifference& figures = one.difference.difference;
  return text + "; " + brief(100 * figures.changed) + " % of the numbers" + rows_text(one.difference) +
         ", relative size " + brief(figures.relative);
}

nlohmann::json difference_json(const NamedDifference& one) {
  return {{"tensor", one.tensor},
          {"kind", one.kind},
          {"relative", one.difference.difference.relative},
          {"changed", one.difference.difference.changed},
          {"rows", one.difference.rows},
          {"changed_rows", one.difference.changed_rows},
          {"first_changed", one.difference.first_changed}};
}

}  // namespace attnsym
