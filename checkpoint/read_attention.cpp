#include "checkpoint/read_attention.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "checkpoint/in_pieces.hpp"
#include "checkpoint/module_tensors.hpp"
#include "checkpoint/tensor_checks.hpp"

namespace attnsym {
namespace {

// Matrices of the config's shapes, contents unspecified.
AttentionWeights<double> allocate(const AttentionConfig& config) {
  AttentionWeights<double> weights;
  weights.groups.resize(static_cast<std::size_t>(config.groups));
  for (KvGroup<double>& group : weights.groups) {
    group.key.resize(config.model_width, config.key_width);
    group.value.resize(config.model_width, config.value_width);
    if (config.key_bias) group.key_bias.resize(config.key_width);
    if (config.value_bias) group.value_bias.resize(config.value_width);
    group.readers.resize(static_cast<std::size_t>(config.readers_per_group()));
    for (QueryHead<double>& reader : group.readers) {
      reader.query.resize(config.model_width, config.key_width);
      reader.output.resize(config.value_width, config.model_width);
      if (config.query_bias) reader.query_bias.resize(config.key_width);
    }
  }
  if (config.output_bias) weights.output_bias.resize(config.model_width);
  return weights;
}

// Fills a slice of weights, and the same slice of radii unless there are none.
void read_slice(const StoredTensor& tensor, const ModuleSlice<double>& slice, double* radius, Radii radii,
                std::vector<double>& run, std::vector<double>& radius_run) {
  const bool dense = slice.stride == 1;
  const auto count = static_cast<std::size_t>(slice.count);
  if (!dense) {
    run.resize(count);
    radius_run.resize(count);
  }
  const std::span<double> numbers = dense ? std::span(slice.numbers, count) : std::span(run);
  std::span<double> errors;
  if (radius != nullptr) errors = dense ? std::span(radius, count) : std::span(radius_run);
  for_each_piece(count, [&](std::size_t first, std::size_t size) {
    const std::span<double> piece = numbers.subspan(first, size);
    const std::size_t offset = static_cast<std::size_t>(slice.offset) + first;
    read_numbers(tensor, offset, piece, radius != nullptr ? errors.subspan(first, size) : errors, radii);
    require_finite(tensor, static_cast<Index>(offset), piece, "stored");
  });
  if (dense) return;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t place = i * static_cast<std::size_t>(slice.stride);
    slice.numbers[place] = numbers[i];
    if (radius != nullptr) radius[place] = errors[i];
  }
}

// Fills allocated weights, but for gains, slice by slice while the numbers are at hand.
// @param radius  filled likewise, or nullptr
void read_slices(const ModuleTensors& tensors, const AttentionConfig& config,
                 AttentionWeights<double>& weights, AttentionWeights<double>* radius, Radii what) {
  for (const StoredTensor& tensor : tensors.present()) tensor.file->will_need(*tensor.info);
  const ModuleSlices slices(config, tensors.placement());
  std::vector<double*> radii;
  if (radius != nullptr)
    slices.for_each(*radius, [&](const ModuleSlice<double>& slice) { radii.push_back(slice.numbers); });
  std::size_t next = 0;
  std::vector<double> run;
  std::vector<double> radius_run;
  slices.for_each(weights, [&](const ModuleSlice<double>& slice) {
    read_slice(*tensors.at(slice.projection, slice.part), slice, radius != nullptr ? radii[next++] : nullptr,
               what, run, radius_run);
  });
  for (const StoredTensor& tensor : tensors.present()) tensor.file->done_with(*tensor.info);
}

// The decoded numbers' own: those of blocks were rounded to float32.
ProjectionRounding projection_rounding(const ModuleTensors& tensors, Projection projection) {
  const auto rounding = [](const StoredTensor& tensor) {
    return rounding_of(written_dtype(tensor.info->dtype));
  };
  ProjectionRounding result;
  result.weight = rounding(*tensors.at(projection, Part::Weight));
  if (const auto& bias = tensors.at(projection, Part::Bias)) result.bias = rounding(*bias);
  return result;
}

// A row of gains, which are stored less `offset`, and the errors that rounding may have left.
std::pair<RowVector<double>, RowVector<double>> read_gain(const StoredTensor& tensor, double offset,
                                                          const ModuleSlices& slices,
                                                          const AttentionConfig& config, Radii radii) {
  const Index count = tensor.info->shape.front();
  std::vector<double> numbers(static_cast<std::size_t>(count));
  std::vector<double> errors(numbers.size());
  read_numbers(tensor, 0, numbers, errors, radii);
  require_finite(tensor, 0, numbers, "stored");
  RowVector<double> gain(count);
  RowVector<double> radius(count);
  for (Index k = 0; k < count; ++k) {
    gain(place_of(k, slices, config)) = numbers[k] + offset;
    radius(place_of(k, slices, config)) = errors[k];
  }
  return {gain, radius};
}

// Gains are stored in one row for queries and one for keys: those that all heads share, or those of one head
// after the other.
void set_gains(AttentionWeights<double>& weights, const AttentionConfig& config,
               const RowVector<double>& queries, const RowVector<double>& keys) {
  if (config.qk_norm->gains == QkGains::Shared) {
    weights.query_gain = queries;
    weights.key_gain = keys;
    return;
  }
  const Index width = config.key_width;
  Index head = 0;
  for (Index j = 0; j < config.groups; ++j) {
    weights.groups[j].gain = keys.segment(width * j, width);
    for (QueryHead<double>& reader : weights.groups[j].readers)
      reader.gain = queries.segment(width * head++, width);
  }
}

std::optional<RowVector<double>> read_norm_vector(const Checkpoint& checkpoint,
                                                  const std::vector<std::string>& names, Index layer) {
  for (const std::string& name : names) {
    const std::optional<StoredTensor> tensor = checkpoint.find(name, layer);
    if (!tensor) continue;
    require_readable(*tensor, {checkpoint.config().hidden_size}, checkpoint.config_name());
    RowVector<double> vector(checkpoint.config().hidden_size);
    const std::span<double> numbers(vector.data(), static_cast<std::size_t>(vector.size()));
    read_numbers(*tensor, 0, numbers, {}, Radii::Decoded);
    require_finite(*tensor, 0, numbers, "stored");
    return vector;
  }
  return std::nullopt;
}

}  // namespace

Index layer_count(const Checkpoint& checkpoint) { return checkpoint.config().layers; }

AttentionConfig attention_config(const Checkpoint& checkpoint, Index layer) {
  return checked_config(checkpoint, ModuleTensors(checkpoint, layer), layer);
}

bool stores_transposed(const Checkpoint& checkpoint) {
  return ModuleTensors(checkpoint, 0).placement().transposed;
}

bool has_quantized_attention(const Checkpoint& checkpoint) {
  for (Index layer = 0; layer < layer_count(checkpoint); ++layer) {
    for (const StoredTensor& tensor : ModuleTensors(checkpoint, layer).present()) {
      if (is_readable_block(tensor.info->dtype)) return true;
    }
  }
  return false;
}

StoredAttention read_attention(const Checkpoint& checkpoint, Index layer, Radii radii) {
  const ModuleTensors tensors(checkpoint, layer);
  StoredAttention module;
  module.config = checked_config(checkpoint, tensors, layer);
  module.weights = allocate(module.config);
  module.radius = allocate(module.config);
  read_slices(tensors, module.config, module.weights, &module.radius, radii);
  if (module.config.qk_norm) {
    const ModuleSlices slices(module.config, tensors.placement());
    const double offset = checkpoint.layout().norm_offset;
    const auto [queries, query_radius] =
        read_gain(*tensors.query_gain(), offset, slices, module.config, radii);
    const auto [keys, key_radius] = read_gain(*tensors.key_gain(), offset, slices, module.config, radii);
    set_gains(module.weights, module.config, queries, keys);
    set_gains(module.radius, module.config, query_radius, key_radius);
  }
  return module;
}

RoundedAttention read_rounded_attention(const Checkpoint& checkpoint, Index layer) {
  const ModuleTensors tensors(checkpoint, layer);
  RoundedAttention module;
  module.config = checked_config(checkpoint, tensors, layer);
  module.weights = allocate(module.config);
  read_slices(tensors, module.config, module.weights, nullptr, Radii::Decoded);
  if (module.config.qk_norm) {
    const ModuleSlices slices(module.config, tensors.placement());
    const double offset = checkpoint.layout().norm_offset;
    const auto gain = [&](const std::optional<StoredTensor>& tensor) {
      return read_gain(*tensor, offset, slices, module.config, Radii::Decoded).first;
    };
    set_gains(module.weights, module.config, gain(tensors.query_gain()), gain(tensors.key_gain()));
  }
  module.query = projection_rounding(tensors, Projection::Query);
  module.key = projection_rounding(tensors, Projection::Key);
  module.value = projection_rounding(tensors, Projection::Value);
  module.output = projection_rounding(tensors, Projection::Output);
  return module;
}

ModuleFormats attention_formats(const Checkpoint& checkpoint, Index layer) {
  const ModuleTensors tensors(checkpoint, layer);
  checked_config(checkpoint, tensors, layer);
  const auto format = [&](Projection projection) {
    ExponentRange range = exponents_of(tensors.at(projection, Part::Weight)->info->dtype);
    if (const auto& bias = tensors.at(projection, Part::Bias)) {
      const ExponentRange other = exponents_of(bias->info->dtype);
      range = {std::max(range.lowest, other.lowest), std::min(range.highest, other.highest)};
    }
    return range;
  };
  return {format(Projection::Query), format(Projection::Key), format(Projection::Value),
          format(Projection::Output)};
}

std::optional<double> input_radius(const Checkpoint& checkpoint, Index layer) {
  const NormNames& norm = layer == 0 ? checkpoint.layout().first_norm : checkpoint.layout().norm;
  const std::optional<RowVector<double>> gain = read_norm_vector(checkpoint, norm.gains, layer);
  if (!gain) return std::nullopt;
  const double longest = (gain->array() + checkpoint.layout().norm_offset).abs().maxCoeff();
  const double radius = std::sqrt(static_cast<double>(gain->size())) * longest;
  if (norm.biases.empty()) return radius;
  const std::optional<RowVector<double>> bias = read_norm_vector(checkpoint, norm.biases, layer);
  return bias ? std::optional(radius + bias->norm()) : std::nullopt;
}

std::vector<StoredTensor> stored_attention_tensors(const Checkpoint& checkpoint, Index layer) {
  return ModuleTensors(checkpoint, layer).present();
}

}  // namespace attnsym
