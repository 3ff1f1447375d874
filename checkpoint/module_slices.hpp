#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "checkpoint/layout.hpp"
#include "symmetry/attention_config.hpp"
#include "symmetry/attention_weights.hpp"
#include "symmetry/projection.hpp"

namespace attnsym {

enum class Part { Weight, Bias };

/// A run of numbers that are consecutive in a stored tensor, and every stride-th in the matrix of a head.
template <class Number>
struct ModuleSlice {
  Projection projection;
  Part part;
  Index offset;  ///< of the first number in the stored tensor, row-major
  Number* numbers;
  Index count;
  Index stride;  ///< 1, or for transposed tensors the column length of the head's matrix
};

/// How the tensors of a module are stored.
struct Placement {
  Packing packing = Packing::Separate;
  bool transposed = false;  ///< [in, out]
  PairLayout pairs =
      PairLayout::HalfSplit;  ///< of a head's rows of queries and keys, where positions turn them
};

/// Where the numbers of every head lie in stored tensors; the only place that knows. In weights the pairs
/// that rotary positions turn are always half-split, whatever the tensors have [N5].
class ModuleSlices {
 public:
  ModuleSlices(const AttentionConfig& config, const Placement& placement)
      : config_(config), placement_(placement) {}

  /// [out, in] of the tensor that holds this projection, alone or with others; [in, out] if transposed.
  std::vector<std::int64_t> shape(Projection projection) const;

  /// The coordinate of a head's queries and keys that its stored row of this number holds.
  Index coordinate(Index row) const;

  /// @param weights AttentionWeights<double>, const or not, of the config's shapes.
  /// @param visit called with ModuleSlice<double> or ModuleSlice<const double>.
  template <class Weights, class Visit>
  void for_each(Weights& weights, Visit visit) const;

 private:
  Index out_rows(Projection projection) const;
  Index first_row(Projection projection, Index index) const;

  bool is_interleaved(Projection projection) const {
    return placement_.pairs == PairLayout::Interleaved && config_.rotary.pairs() > 0 &&
           (projection == Projection::Query || projection == Projection::Key);
  }

  template <class Visit, class Weight, class Bias>
  void visit_rows(Projection projection, Index index, Weight& weight, Bias& bias, Visit visit) const;

  template <class Weights, class Visit>
  void visit_outputs(Weights& weights, Visit visit) const;
  template <class Visit, class Weight, class Bias>
  void visit_interleaved_rows(Projection projection, Index row, Weight& weight, Bias& bias,
                              Visit visit) const;

  template <class Number, class Visit>
  void visit_pairs(ModuleSlice<Number> slice, Visit visit) const;

  const AttentionConfig& config_;
  Placement placement_;
};

template <class Visit, class Weight, class Bias>
void ModuleSlices::visit_rows(Projection projection, Index index, Weight& weight, Bias& bias,
                              Visit visit) const {
  using Number = std::remove_pointer_t<decltype(weight.data())>;
  const Index row = first_row(projection, index);
  const Index d = weight.rows();
  const Index width = weight.cols();
  if (is_interleaved(projection)) return visit_interleaved_rows(projection, row, weight, bias, visit);
  if (placement_.transposed) {
    for (Index in = 0; in < d; ++in) {
      visit(ModuleSlice<Number>{projection, Part::Weight, in * out_rows(projection) + row, weight.data() + in,
                                width, d});
    }
  } else {
    // The heads' matrices are column-major, so rows of the tensor are their columns.
    visit(ModuleSlice<Number>{projection, Part::Weight, row * d, weight.data(), d * width, 1});
  }
  if (bias.size() > 0) visit(ModuleSlice<Number>{projection, Part::Bias, row, bias.data(), width, 1});
}

// Of a run over a head's coordinates, as `slice` would be if pairs were half-split: every pair, and the rest.
template <class Number, class Visit>
void ModuleSlices::visit_pairs(ModuleSlice<Number> slice, Visit visit) const {
  const Index pairs = config_.rotary.pairs();
  for (Index p = 0; p < pairs; ++p) {
    visit(ModuleSlice<Number>{slice.projection, slice.part, slice.offset + 2 * p,
                              slice.numbers + p * slice.stride, 2, pairs * slice.stride});
  }
  const Index rest = slice.count - 2 * pairs;
  if (rest > 0) {
    visit(ModuleSlice<Number>{slice.projection, slice.part, slice.offset + 2 * pairs,
                              slice.numbers + 2 * pairs * slice.stride, rest, slice.stride});
  }
}

template <class Visit, class Weight, class Bias>
void ModuleSlices::visit_interleaved_rows(Projection projection, Index row, Weight& weight, Bias& bias,
                                          Visit visit) const {
  using Number = std::remove_pointer_t<decltype(weight.data())>;
  const Index d = weight.rows();
  const Index width = weight.cols();
  if (placement_.transposed) {
    for (Index in = 0; in < d; ++in) {
      visit_pairs(ModuleSlice<Number>{projection, Part::Weight, in * out_rows(projection) + row,
                                      weight.data() + in, width, d},
                  visit);
    }
  } else {
    for (Index k = 0; k < width; ++k) {
      visit(ModuleSlice<Number>{projection, Part::Weight, (row + k) * d, weight.data() + coordinate(k) * d, d,
                                1});
    }
  }
  if (bias.size() > 0)
    visit_pairs(ModuleSlice<Number>{projection, Part::Bias, row, bias.data(), width, 1}, visit);
}

template <class Weights, class Visit>
void ModuleSlices::visit_outputs(Weights& weights, Visit visit) const {
  using Number = std::remove_pointer_t<decltype(weights.output_bias.data())>;
  const Index width = config_.value_width;
  const Index d = config_.model_width;
  std::vector<Number*> heads;
  for (auto& group : weights.groups) {
    for (auto& reader : group.readers) heads.push_back(reader.output.data());
  }
  const auto count = static_cast<Index>(heads.size());
  if (placement_.transposed) {
    for (Index head = 0; head < count; ++head) {
      for (Index k = 0; k < width; ++k)
        visit(ModuleSlice<Number>{Projection::Output, Part::Weight, (head * width + k) * d, heads[head] + k,
                                  d, width});
    }
  } else {
    // Some rows at a time, which fit a cache as they are stored: the heads have a few numbers of each.
    constexpr Index rows_at_once = 32;
    for (Index first = 0; first < d; first += rows_at_once) {
      const Index end = std::min(d, first + rows_at_once);
      for (Index head = 0; head < count; ++head) {
        for (Index row = first; row < end; ++row)
          visit(ModuleSlice<Number>{Projection::Output, Part::Weight, (row * count + head) * width,
                                    heads[head] + row * width, width, 1});
      }
    }
  }
}

template <class Weights, class Visit>
void ModuleSlices::for_each(Weights& weights, Visit visit) const {
  using Number = std::remove_pointer_t<decltype(weights.output_bias.data())>;
  Index head = 0;
  for (Index j = 0; j < config_.groups; ++j) {
    auto& group = weights.groups[j];
    visit_rows(Projection::Key, j, group.key, group.key_bias, visit);
    visit_rows(Projection::Value, j, group.value, group.value_bias, visit);
    for (auto& reader : group.readers) {
      visit_rows(Projection::Query, head++, reader.query, reader.query_bias, visit);
    }
  }
  visit_outputs(weights, visit);
  auto& bias = weights.output_bias;
  if (bias.size() > 0)
    visit(ModuleSlice<Number>{Projection::Output, Part::Bias, 0, bias.data(), bias.size(), 1});
}

}  // namespace attnsym
