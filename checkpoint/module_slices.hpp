#pragma once

#include <span>

#include "symmetry/attention_config.hpp"
#include "symmetry/attention_weights.hpp"

namespace attnsym {

enum class Projection { Query, Key, Value, Output };
enum class Part { Weight, Bias };

/// A contiguous run of numbers that a stored tensor and the matrix of a head have in common.
template <class Number>
struct ModuleSlice {
  Projection projection;
  Part part;
  Index offset;  ///< of the first number in the stored tensor, row-major
  std::span<Number> numbers;
};

/// Where the numbers of every head lie in tensors stored [out, in]; the only place that knows. Transposing
/// costs nothing: the heads' matrices are column-major, so rows of query, key and value are columns of Q_i,
/// K_j and V_j, and output row d restricted to head i is column d of O_i.
/// @param weights AttentionWeights<double>, const or not, of the config's shapes.
/// @param visit called with ModuleSlice<double> or ModuleSlice<const double>; per tensor in ascending order.
template <class Weights, class Visit>
void for_each_slice(const AttentionConfig& config, Weights& weights, Visit visit) {
  using Number = std::remove_pointer_t<decltype(weights.output_bias.data())>;
  const auto visit_whole = [&](Projection projection, Part part, Index position, auto& slot) {
    if (slot.size() == 0) return;
    visit(ModuleSlice<Number>{
        projection, part, position * slot.size(), {slot.data(), static_cast<std::size_t>(slot.size())}});
  };
  const auto reader = [&](Index head) -> auto& {
    const Index per_group = config.readers_per_group();
    return weights.groups[head / per_group].readers[head % per_group];
  };

  for (Index head = 0; head < config.heads; ++head) {
    visit_whole(Projection::Query, Part::Weight, head, reader(head).query);
    visit_whole(Projection::Query, Part::Bias, head, reader(head).query_bias);
  }
  for (Index group = 0; group < config.groups; ++group) {
    visit_whole(Projection::Key, Part::Weight, group, weights.groups[group].key);
    visit_whole(Projection::Key, Part::Bias, group, weights.groups[group].key_bias);
    visit_whole(Projection::Value, Part::Weight, group, weights.groups[group].value);
    visit_whole(Projection::Value, Part::Bias, group, weights.groups[group].value_bias);
  }
  const Index width = config.value_width;
  for (Index row = 0; row < config.model_width; ++row) {
    for (Index head = 0; head < config.heads; ++head) {
      visit(ModuleSlice<Number>{Projection::Output,
                                Part::Weight,
                                (row * config.heads + head) * width,
                                {reader(head).output.col(row).data(), static_cast<std::size_t>(width)}});
    }
  }
  visit_whole(Projection::Output, Part::Bias, 0, weights.output_bias);
}

}  // namespace attnsym
