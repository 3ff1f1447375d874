#include "tools/layer_returned.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

std::string text_of(const std::vector<Index>& axes) { return shape_text({axes.begin(), axes.end()}); }

[[noreturn]] void fail(const std::string& tensor, const std::string& what) {
  throw FormatError("output tensor " + in_quotes(tensor) + " " + what);
}

void add_tensor(Returned& returned, const std::string& name, const LayerOutput& output) {
  returned.names.push_back(name);
  returned.dtypes.push_back(output.dtype);
  const std::size_t size = output.values.size() / returned.checkpoints.size();
  auto next = output.values.begin();
  for (TensorValues& checkpoint : returned.checkpoints) {
    const auto end = next + static_cast<std::ptrdiff_t>(size);
    checkpoint.emplace_back(next, end);
    next = end;
  }
}

Index channels_of(const LayerGroup& group, const LayerOutputs& outputs) {
  const auto first = outputs.find(group.tensors(1)[0].name);
  if (!group.has_channels() || first == outputs.end() || first->second.axes.size() < 2) return 1;
  return std::max<Index>(first->second.axes[1], 1);
}

}  // namespace

double Returned::size(std::size_t checkpoint) const {
  double largest = 0;
  for (const auto& tensor : checkpoints[checkpoint]) {
    for (const double value : tensor) {
      largest =
          std::isfinite(value) ? std::max(largest, std::abs(value)) : std::numeric_limits<double>::infinity();
      if (std::isinf(largest)) return largest;
    }
  }
  return largest;
}

Returned sorted_weights(const LayerGroup& group, const LayerOutputs& outputs, std::size_t checkpoints) {
  Returned returned{{}, {}, channels_of(group, outputs), std::vector<TensorValues>(checkpoints)};
  const std::vector<TensorAxes> wanted = group.tensors(returned.channels);
  for (const TensorAxes& tensor : wanted) {
    const auto found = outputs.find(tensor.name);
    if (found == outputs.end()) throw FormatError("the layer returned no tensor " + in_quotes(tensor.name));
    std::vector<Index> axes{static_cast<Index>(checkpoints)};
    axes.insert(axes.end(), tensor.axes.begin(), tensor.axes.end());
    if (found->second.axes != axes)
      fail(tensor.name, "has shape " + text_of(found->second.axes) + ", expected " + text_of(axes));
    add_tensor(returned, tensor.name, found->second);
  }
  for (const auto& [name, output] : outputs) {
    if (std::find(returned.names.begin(), returned.names.end(), name) == returned.names.end())
      fail(name, "is not among the weights; only with --invariant names are free");
  }
  return returned;
}

Returned sorted_invariants(const LayerOutputs& outputs, std::size_t checkpoints) {
  if (outputs.empty()) throw FormatError("the layer returned no tensor");
  Returned returned{{}, {}, 1, std::vector<TensorValues>(checkpoints)};
  for (const auto& [name, output] : outputs) {
    if (output.values.empty() || output.axes.empty() || output.axes[0] != static_cast<Index>(checkpoints))
      fail(name, "has shape " + text_of(output.axes) + ", expected " + std::to_string(checkpoints) +
                     " checkpoints along its first axis");
    add_tensor(returned, name, output);
  }
  return returned;
}

void require_finite(const Returned& returned) {
  for (std::size_t n = 0; n < returned.checkpoints.size(); ++n) {
    for (std::size_t t = 0; t < returned.names.size(); ++t) {
      const std::vector<double>& values = returned.checkpoints[n][t];
      const auto bad =
          std::find_if_not(values.begin(), values.end(), [](double value) { return std::isfinite(value); });
      if (bad != values.end())
        fail(returned.names[t], "is not finite: entry " + std::to_string(bad - values.begin()) +
                                    " of checkpoint " + std::to_string(n) + " is " + std::to_string(*bad));
    }
  }
}

void require_equal(const Returned& returned, std::size_t a, std::size_t b) {
  const double size = returned.size(a);
  for (std::size_t t = 0; t < returned.names.size(); ++t) {
    for (std::size_t i = 0; i < returned.checkpoints[a][t].size(); ++i) {
      const double difference = std::abs(returned.checkpoints[a][t][i] - returned.checkpoints[b][t][i]);
      if (!(difference <= rounding_limit(returned.dtypes[t]) * size))
        fail(returned.names[t],
             "differs between two checkpoints with equal weights: the layer is random, or mixes checkpoints");
    }
  }
}

double rounding_limit(Dtype dtype) {
  if (dtype == Dtype::F64) return tolerance<double>();
  if (dtype == Dtype::F32) return tolerance<float>();
  return 32 * rounding_of(dtype).relative;
}

}  // namespace attnsym
