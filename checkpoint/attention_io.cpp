#include "checkpoint/attention_io.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "checkpoint/module_slices.hpp"
#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// The stored tensors of one module. A bias may be absent, a weight may not.
class ModuleTensors {
 public:
  ModuleTensors(const Checkpoint& checkpoint, Index layer) {
    const Layout& layout = checkpoint.layout();
    const std::array<const LinearNames*, 4> linears{&layout.query, &layout.key, &layout.value,
                                                    &layout.output};
    for (std::size_t i = 0; i < linears.size(); ++i) {
      tensors_[2 * i] = checkpoint.require(linears[i]->weight, layer);
      tensors_[2 * i + 1] = checkpoint.find(linears[i]->bias, layer);
    }
  }

  const std::optional<StoredTensor>& at(Projection projection, Part part) const {
    return tensors_[position(projection, part)];
  }

  static std::size_t position(Projection projection, Part part) {
    return 2 * static_cast<std::size_t>(projection) + static_cast<std::size_t>(part);
  }

  std::vector<StoredTensor> present() const {
    std::vector<StoredTensor> list;
    for (const std::optional<StoredTensor>& tensor : tensors_) {
      if (tensor) list.push_back(*tensor);
    }
    return list;
  }

 private:
  std::array<std::optional<StoredTensor>, 8> tensors_;
};

void require_readable(const StoredTensor& tensor, const std::vector<std::int64_t>& shape) {
  if (tensor.info->shape != shape) {
    throw ShapeError(tensor.describe() + " is " + shape_text(tensor.info->shape) + ", expected " +
                     shape_text(shape) + " by config.json");
  }
  if (!is_readable_float(tensor.info->dtype)) {
    throw FormatError(tensor.describe() + " has dtype " + std::string(name_of(tensor.info->dtype)) +
                      "; F64, F32, F16 and BF16 can be read");
  }
}

AttentionConfig config_of(const ModelConfig& model, const ModuleTensors& tensors) {
  const auto has_bias = [&](Projection projection) { return tensors.at(projection, Part::Bias).has_value(); };
  return {.model_width = model.hidden_size,
          .heads = model.heads,
          .groups = model.kv_heads,
          .key_width = model.head_dim,
          .value_width = model.head_dim,
          .query_bias = has_bias(Projection::Query),
          .key_bias = has_bias(Projection::Key),
          .value_bias = has_bias(Projection::Value),
          .output_bias = has_bias(Projection::Output),
          .causal = model.causal,
          .scale = 1 / std::sqrt(static_cast<double>(model.head_dim))};
}

void require_shapes(const ModuleTensors& tensors, const AttentionConfig& config) {
  const auto require = [&](Projection projection, Index out, Index in) {
    require_readable(*tensors.at(projection, Part::Weight), {out, in});
    if (const auto& bias = tensors.at(projection, Part::Bias)) require_readable(*bias, {out});
  };
  require(Projection::Query, config.heads * config.key_width, config.model_width);
  require(Projection::Key, config.groups * config.key_width, config.model_width);
  require(Projection::Value, config.groups * config.value_width, config.model_width);
  require(Projection::Output, config.model_width, config.heads * config.value_width);
}

AttentionConfig checked_config(const Checkpoint& checkpoint, const ModuleTensors& tensors) {
  const AttentionConfig config = config_of(checkpoint.config(), tensors);
  require_shapes(tensors, config);
  return config;
}

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

// Without a branch per number, so that it costs little beside decoding.
bool all_finite(std::span<const double> numbers) {
  bool finite = true;
  for (const double number : numbers) finite &= std::abs(number) <= std::numeric_limits<double>::max();
  return finite;
}

// [row, column] of an entry in a stored tensor.
std::string position_text(const std::vector<std::int64_t>& shape, Index offset) {
  if (shape.size() < 2) return shape_text({offset});
  return shape_text({offset / shape[1], offset % shape[1]});
}

void require_finite(const StoredTensor& tensor, Index offset, std::span<const double> numbers,
                    const char* origin) {
  if (all_finite(numbers)) return;
  const auto bad = std::ranges::find_if(numbers, [](double number) { return !std::isfinite(number); });
  throw FormatError(tensor.describe() + ": " + origin + " entry " +
                    position_text(tensor.info->shape, offset + (bad - numbers.begin())) + " is " +
                    std::to_string(*bad));
}

std::span<const std::byte> bytes_of(const StoredTensor& tensor, Index offset, std::size_t count) {
  const std::size_t size = size_of(tensor.info->dtype);
  return tensor.bytes().subspan(static_cast<std::size_t>(offset) * size, count * size);
}

NamedTensor blank_tensor(const TensorInfo& info, Dtype dtype) {
  const std::size_t count = info.size() / size_of(info.dtype);
  return {info.name, dtype, info.shape, std::vector<std::byte>(count * size_of(dtype))};
}

void encode_slice(const StoredTensor& tensor, const ModuleSlice<const double>& slice, NamedTensor& target) {
  const std::size_t size = size_of(target.dtype);
  const std::span<std::byte> bytes(target.bytes);
  try {
    encode(target.dtype, slice.numbers,
           bytes.subspan(static_cast<std::size_t>(slice.offset) * size, slice.numbers.size() * size));
  } catch (const FormatError& error) {
    throw FormatError(tensor.describe() + ": " + error.what());
  }
}

std::optional<RowVector<double>> read_norm_vector(const Checkpoint& checkpoint,
                                                  const std::vector<std::string_view>& names, Index layer) {
  for (const std::string_view name : names) {
    const std::optional<StoredTensor> tensor = checkpoint.find(name, layer);
    if (!tensor) continue;
    require_readable(*tensor, {checkpoint.config().hidden_size});
    RowVector<double> vector(checkpoint.config().hidden_size);
    const std::span<double> numbers(vector.data(), static_cast<std::size_t>(vector.size()));
    decode(tensor->info->dtype, tensor->bytes(), numbers);
    require_finite(*tensor, 0, numbers, "stored");
    return vector;
  }
  return std::nullopt;
}

}  // namespace

Index layer_count(const Checkpoint& checkpoint) { return checkpoint.config().layers; }

AttentionConfig attention_config(const Checkpoint& checkpoint, Index layer) {
  return checked_config(checkpoint, ModuleTensors(checkpoint, layer));
}

StoredAttention read_attention(const Checkpoint& checkpoint, Index layer) {
  const ModuleTensors tensors(checkpoint, layer);
  StoredAttention module;
  module.config = checked_config(checkpoint, tensors);
  for (const StoredTensor& tensor : tensors.present()) tensor.file->will_need(*tensor.info);

  // Both halves are filled slice by slice, while the numbers are at hand.
  module.weights = allocate(module.config);
  module.radius = allocate(module.config);
  std::vector<std::span<double>> radii;
  for_each_slice(module.config, module.radius,
                 [&](const ModuleSlice<double>& slice) { radii.push_back(slice.numbers); });
  auto radius = radii.begin();
  for_each_slice(module.config, module.weights, [&](const ModuleSlice<double>& slice) {
    const StoredTensor& tensor = *tensors.at(slice.projection, slice.part);
    decode(tensor.info->dtype, bytes_of(tensor, slice.offset, slice.numbers.size()), slice.numbers);
    require_finite(tensor, slice.offset, slice.numbers, "stored");
    const Rounding rounding = rounding_of(tensor.info->dtype);
    std::ranges::transform(slice.numbers, (radius++)->begin(),
                           [&](double number) { return rounding.radius(number); });
  });
  return module;
}

ModuleFormats attention_formats(const Checkpoint& checkpoint, Index layer) {
  const ModuleTensors tensors(checkpoint, layer);
  checked_config(checkpoint, tensors);
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
  const std::optional<RowVector<double>> bias = read_norm_vector(checkpoint, norm.biases, layer);
  if (!gain || !bias) return std::nullopt;
  return std::sqrt(static_cast<double>(gain->size())) * gain->cwiseAbs().maxCoeff() + bias->norm();
}

std::vector<StoredTensor> stored_attention_tensors(const Checkpoint& checkpoint, Index layer) {
  return ModuleTensors(checkpoint, layer).present();
}

std::vector<NamedTensor> attention_tensors(const Checkpoint& checkpoint, Index layer,
                                           const AttentionWeights<double>& weights,
                                           std::optional<Dtype> store_as) {
  const ModuleTensors tensors(checkpoint, layer);
  const AttentionConfig config = checked_config(checkpoint, tensors);
  require_fits(weights, config);

  std::array<NamedTensor, 8> encoded;
  for_each_slice(config, weights, [&](const ModuleSlice<const double>& slice) {
    const StoredTensor& tensor = *tensors.at(slice.projection, slice.part);
    NamedTensor& target = encoded[ModuleTensors::position(slice.projection, slice.part)];
    if (target.name.empty()) target = blank_tensor(*tensor.info, store_as.value_or(tensor.info->dtype));
    require_finite(tensor, slice.offset, slice.numbers, "new");
    encode_slice(tensor, slice, target);
  });

  std::vector<NamedTensor> result;
  for (NamedTensor& tensor : encoded) {
    if (!tensor.name.empty()) result.push_back(std::move(tensor));
  }
  return result;
}

void require_exact(const Checkpoint& checkpoint, Index layer, const AttentionWeights<double>& weights,
                   std::optional<Dtype> store_as) {
  const ModuleTensors tensors(checkpoint, layer);
  const AttentionConfig config = checked_config(checkpoint, tensors);
  require_fits(weights, config);
  std::vector<std::byte> bytes;
  std::vector<double> stored;
  for_each_slice(config, weights, [&](const ModuleSlice<const double>& slice) {
    const StoredTensor& tensor = *tensors.at(slice.projection, slice.part);
    const Dtype dtype = store_as.value_or(tensor.info->dtype);
    stored.resize(slice.numbers.size());
    bytes.resize(stored.size() * size_of(dtype));
    encode(dtype, slice.numbers, bytes);
    decode(dtype, bytes, stored);
    const auto [number, rounded] = std::ranges::mismatch(slice.numbers, stored);
    if (number == slice.numbers.end()) return;
    throw FormatError(tensor.describe() + ": new entry " +
                      position_text(tensor.info->shape, slice.offset + (number - slice.numbers.begin())) +
                      " would be rounded in dtype " + std::string(name_of(dtype)) +
                      ", so the output would not be exact");
  });
}

}  // namespace attnsym
