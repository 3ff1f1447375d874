#include "checkpoint/attention_io.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>

#include "checkpoint/module_slices.hpp"
#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// The stored tensors of one module. A bias may be absent, a weight may not. Projections may share a tensor.
class ModuleTensors {
 public:
  ModuleTensors(const Checkpoint& checkpoint, Index layer) : placement_{checkpoint.layout().packing, false} {
    const Layout& layout = checkpoint.layout();
    const std::array<const LinearNames*, 4> linears{&layout.query, &layout.key, &layout.value,
                                                    &layout.output};
    for (std::size_t i = 0; i < linears.size(); ++i) {
      tensors_[2 * i] = checkpoint.require(linears[i]->weight, layer);
      tensors_[2 * i + 1] = checkpoint.find(linears[i]->bias, layer);
    }
    placement_.transposed = layout.transposed && !is_untransposed(checkpoint.config());
    if (layout.query_norm.empty()) return;
    query_gain_ = checkpoint.require(layout.query_norm, layer);
    key_gain_ = checkpoint.require(layout.key_norm, layer);
  }

  const std::optional<StoredTensor>& at(Projection projection, Part part) const {
    return tensors_[position(projection, part)];
  }

  /// The gains of norms over queries and keys, if there are any.
  const std::optional<StoredTensor>& query_gain() const { return query_gain_; }
  const std::optional<StoredTensor>& key_gain() const { return key_gain_; }

  const Placement& placement() const { return placement_; }

  // Every tensor once.
  std::vector<StoredTensor> present() const {
    std::vector<StoredTensor> list;
    for (const std::optional<StoredTensor>* each : all()) {
      const std::optional<StoredTensor>& tensor = *each;
      if (!tensor) continue;
      const auto known = [&](const StoredTensor& other) { return other.info == tensor->info; };
      if (std::ranges::none_of(list, known)) list.push_back(*tensor);
    }
    return list;
  }

 private:
  std::vector<const std::optional<StoredTensor>*> all() const {
    std::vector<const std::optional<StoredTensor>*> list{&query_gain_, &key_gain_};
    for (const std::optional<StoredTensor>& tensor : tensors_) list.push_back(&tensor);
    return list;
  }

  static std::size_t position(Projection projection, Part part) {
    return 2 * static_cast<std::size_t>(projection) + static_cast<std::size_t>(part);
  }

  // minGPT and nanoGPT have GPT-2's names but store [out, in], which the shape of the packed tensor tells.
  bool is_untransposed(const ModelConfig& config) const {
    const auto& shape = at(Projection::Query, Part::Weight)->info->shape;
    return placement_.packing != Packing::Separate && shape.size() == 2 && shape[0] != config.hidden_size &&
           shape[1] == config.hidden_size;
  }

  std::array<std::optional<StoredTensor>, 8> tensors_;
  std::optional<StoredTensor> query_gain_;
  std::optional<StoredTensor> key_gain_;
  Placement placement_;
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

AttentionConfig config_of(const ModelConfig& model, const std::optional<QkNorm>& qk_norm,
                          const ModuleTensors& tensors, Index layer) {
  const auto has_bias = [&](Projection projection) { return tensors.at(projection, Part::Bias).has_value(); };
  const ScoreRule scores = model.scores(layer);
  return {.model_width = model.hidden_size,
          .heads = model.heads,
          .groups = model.kv_heads,
          .key_width = model.head_dim,
          .value_width = model.head_dim,
          .query_bias = has_bias(Projection::Query),
          .key_bias = has_bias(Projection::Key),
          .value_bias = has_bias(Projection::Value),
          .output_bias = has_bias(Projection::Output),
          .causal = scores.causal,
          .scale = scores.scale,
          .window = scores.window,
          .rotary = scores.rotary,
          .slopes = scores.slopes,
          .softcap = scores.softcap,
          .qk_norm = qk_norm};
}

void require_shapes(const ModuleTensors& tensors, const AttentionConfig& config) {
  const ModuleSlices slices(config, tensors.placement());
  for (const Projection projection :
       {Projection::Query, Projection::Key, Projection::Value, Projection::Output}) {
    const std::vector<std::int64_t> shape = slices.shape(projection);
    require_readable(*tensors.at(projection, Part::Weight), shape);
    if (const auto& bias = tensors.at(projection, Part::Bias))
      require_readable(*bias, {tensors.placement().transposed ? shape[1] : shape[0]});
  }
  if (!config.qk_norm) return;
  const bool own = config.qk_norm->gains == QkGains::Own;
  require_readable(*tensors.query_gain(), {(own ? config.heads : 1) * config.key_width});
  require_readable(*tensors.key_gain(), {(own ? config.groups : 1) * config.key_width});
}

std::optional<QkNorm> qk_norm_of(const Checkpoint& checkpoint) {
  if (checkpoint.layout().query_norm.empty()) return std::nullopt;
  const bool over_all_heads = checkpoint.layout().norm_over_all_heads;
  return QkNorm{checkpoint.config().norm_epsilon, over_all_heads ? QkGains::Own : QkGains::Shared,
                over_all_heads};
}

AttentionConfig checked_config(const Checkpoint& checkpoint, const ModuleTensors& tensors, Index layer) {
  const AttentionConfig config = config_of(checkpoint.config(), qk_norm_of(checkpoint), tensors, layer);
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

// By their bits and without a branch, which compilers turn into vector code.
bool all_finite(std::span<const double> numbers) {
  constexpr std::uint64_t exponent = 0x7ff0'0000'0000'0000U;
  std::uint64_t others = 0;
  for (const double number : numbers)
    others += (std::bit_cast<std::uint64_t>(number) & exponent) == exponent ? 1 : 0;
  return others == 0;
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

// The numbers of a slice, one after the other.
class Run {
 public:
  std::span<double> of(Index count) {
    numbers_.resize(static_cast<std::size_t>(count));
    return numbers_;
  }

  std::span<const double> gathered(const ModuleSlice<const double>& slice) {
    if (slice.stride == 1) return {slice.numbers, static_cast<std::size_t>(slice.count)};
    const std::span<double> run = of(slice.count);
    for (Index i = 0; i < slice.count; ++i)
      run[static_cast<std::size_t>(i)] = slice.numbers[i * slice.stride];
    return run;
  }

 private:
  std::vector<double> numbers_;
};

void encode_run(const StoredTensor& tensor, Index offset, std::span<const double> numbers,
                NamedTensor& target) {
  const std::size_t size = size_of(target.dtype);
  const std::span<std::byte> bytes(target.bytes);
  try {
    encode(target.dtype, numbers,
           bytes.subspan(static_cast<std::size_t>(offset) * size, numbers.size() * size));
  } catch (const FormatError& error) {
    throw FormatError(tensor.describe() + ": " + error.what());
  }
}

void read_slice(const StoredTensor& tensor, const ModuleSlice<double>& slice, Run& run) {
  const bool dense = slice.stride == 1;
  const std::span<double> numbers =
      dense ? std::span(slice.numbers, static_cast<std::size_t>(slice.count)) : run.of(slice.count);
  decode(tensor.info->dtype, bytes_of(tensor, slice.offset, numbers.size()), numbers);
  require_finite(tensor, slice.offset, numbers, "stored");
  if (dense) return;
  for (Index i = 0; i < slice.count; ++i)
    slice.numbers[i * slice.stride] = numbers[static_cast<std::size_t>(i)];
}

// @param radius  where the radii begin of a slice that has been read
void set_radii(const Rounding& rounding, const ModuleSlice<double>& slice, double* radius) {
  if (slice.stride == 1) {
    const std::span<const double> numbers(slice.numbers, static_cast<std::size_t>(slice.count));
    std::ranges::transform(numbers, radius, [&](double number) { return rounding.radius(number); });
    return;
  }
  for (Index i = 0; i < slice.count * slice.stride; i += slice.stride)
    radius[i] = rounding.radius(slice.numbers[i]);
}

// Fills allocated weights but for gains, calling done(tensor, slice) on every slice.
template <class Done>
void read_slices(const ModuleTensors& tensors, const AttentionConfig& config,
                 AttentionWeights<double>& weights, Done done) {
  for (const StoredTensor& tensor : tensors.present()) tensor.file->will_need(*tensor.info);
  Run run;
  ModuleSlices(config, tensors.placement()).for_each(weights, [&](const ModuleSlice<double>& slice) {
    const StoredTensor& tensor = *tensors.at(slice.projection, slice.part);
    read_slice(tensor, slice, run);
    done(tensor, slice);
  });
}

void done_with(const ModuleTensors& tensors) {
  for (const StoredTensor& tensor : tensors.present()) tensor.file->done_with(*tensor.info);
}

ProjectionRounding projection_rounding(const ModuleTensors& tensors, Projection projection) {
  ProjectionRounding rounding;
  rounding.weight = rounding_of(tensors.at(projection, Part::Weight)->info->dtype);
  if (const auto& bias = tensors.at(projection, Part::Bias)) rounding.bias = rounding_of(bias->info->dtype);
  return rounding;
}

// A gain as stored, less `offset`, and the errors that rounding may have left.
std::pair<RowVector<double>, RowVector<double>> read_gain(const StoredTensor& tensor, double offset) {
  RowVector<double> gain(tensor.info->shape.front());
  const std::span<double> numbers(gain.data(), static_cast<std::size_t>(gain.size()));
  decode(tensor.info->dtype, tensor.bytes(), numbers);
  require_finite(tensor, 0, numbers, "stored");
  const Rounding rounding = rounding_of(tensor.info->dtype);
  const RowVector<double> radius = gain.unaryExpr([&](double number) { return rounding.radius(number); });
  return {gain.array() + offset, radius};
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

// The same rows back.
std::pair<RowVector<double>, RowVector<double>> gain_rows(const AttentionWeights<double>& weights,
                                                          const AttentionConfig& config) {
  if (config.qk_norm->gains == QkGains::Shared) return {weights.query_gain, weights.key_gain};
  const Index width = config.key_width;
  RowVector<double> queries(width * config.heads);
  RowVector<double> keys(width * config.groups);
  Index head = 0;
  for (Index j = 0; j < config.groups; ++j) {
    keys.segment(width * j, width) = weights.groups[j].gain;
    for (const QueryHead<double>& reader : weights.groups[j].readers)
      queries.segment(width * head++, width) = reader.gain;
  }
  return {queries, keys};
}

// A gain as it is to be stored: less what is added when it is read.
struct StoredGain {
  const StoredTensor& tensor;
  std::vector<double> numbers;
};

std::vector<StoredGain> stored_gains(const Checkpoint& checkpoint, const ModuleTensors& tensors,
                                     const AttentionConfig& config, const AttentionWeights<double>& weights) {
  std::vector<StoredGain> gains;
  if (!config.qk_norm) return gains;
  const auto add = [&](const std::optional<StoredTensor>& tensor, const RowVector<double>& gain) {
    const RowVector<double> stored = gain.array() - checkpoint.layout().norm_offset;
    gains.push_back({*tensor, {stored.data(), stored.data() + stored.size()}});
  };
  const auto [queries, keys] = gain_rows(weights, config);
  add(tensors.query_gain(), queries);
  add(tensors.key_gain(), keys);
  return gains;
}

std::optional<RowVector<double>> read_norm_vector(const Checkpoint& checkpoint,
                                                  const std::vector<std::string>& names, Index layer) {
  for (const std::string& name : names) {
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
  return checked_config(checkpoint, ModuleTensors(checkpoint, layer), layer);
}

StoredAttention read_attention(const Checkpoint& checkpoint, Index layer) {
  const ModuleTensors tensors(checkpoint, layer);
  StoredAttention module;
  module.config = checked_config(checkpoint, tensors, layer);
  module.weights = allocate(module.config);
  module.radius = allocate(module.config);
  std::vector<double*> radii;
  ModuleSlices(module.config, tensors.placement())
      .for_each(module.radius, [&](const ModuleSlice<double>& slice) { radii.push_back(slice.numbers); });
  // Both halves are filled slice by slice, while the numbers are at hand.
  auto radius = radii.begin();
  read_slices(tensors, module.config, module.weights,
              [&](const StoredTensor& tensor, const ModuleSlice<double>& slice) {
                set_radii(rounding_of(tensor.info->dtype), slice, *radius++);
              });
  if (module.config.qk_norm) {
    const double offset = checkpoint.layout().norm_offset;
    const auto [queries, query_radius] = read_gain(*tensors.query_gain(), offset);
    const auto [keys, key_radius] = read_gain(*tensors.key_gain(), offset);
    set_gains(module.weights, module.config, queries, keys);
    set_gains(module.radius, module.config, query_radius, key_radius);
  }
  done_with(tensors);
  return module;
}

RoundedAttention read_rounded_attention(const Checkpoint& checkpoint, Index layer) {
  const ModuleTensors tensors(checkpoint, layer);
  RoundedAttention module;
  module.config = checked_config(checkpoint, tensors, layer);
  module.weights = allocate(module.config);
  read_slices(tensors, module.config, module.weights, [](const auto&...) {});
  if (module.config.qk_norm) {
    const double offset = checkpoint.layout().norm_offset;
    set_gains(module.weights, module.config, read_gain(*tensors.query_gain(), offset).first,
              read_gain(*tensors.key_gain(), offset).first);
  }
  module.query = projection_rounding(tensors, Projection::Query);
  module.key = projection_rounding(tensors, Projection::Key);
  module.value = projection_rounding(tensors, Projection::Value);
  module.output = projection_rounding(tensors, Projection::Output);
  done_with(tensors);
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

std::vector<NamedTensor> attention_tensors(const Checkpoint& checkpoint, Index layer,
                                           const AttentionWeights<double>& weights,
                                           std::optional<Dtype> store_as) {
  const ModuleTensors tensors(checkpoint, layer);
  const AttentionConfig config = checked_config(checkpoint, tensors, layer);
  require_fits(weights, config);

  std::vector<NamedTensor> encoded;
  for (const StoredTensor& tensor : tensors.present())
    encoded.push_back(blank_tensor(*tensor.info, store_as.value_or(tensor.info->dtype)));
  const auto encode_slice = [&](const StoredTensor& tensor, Index offset, std::span<const double> numbers) {
    require_finite(tensor, offset, numbers, "new");
    encode_run(tensor, offset, numbers, *std::ranges::find(encoded, tensor.info->name, &NamedTensor::name));
  };
  Run run;
  ModuleSlices(config, tensors.placement()).for_each(weights, [&](const ModuleSlice<const double>& slice) {
    encode_slice(*tensors.at(slice.projection, slice.part), slice.offset, run.gathered(slice));
  });
  for (const StoredGain& gain : stored_gains(checkpoint, tensors, config, weights))
    encode_slice(gain.tensor, 0, gain.numbers);
  return encoded;
}

void require_exact(const Checkpoint& checkpoint, Index layer, const AttentionWeights<double>& weights,
                   std::optional<Dtype> store_as) {
  const ModuleTensors tensors(checkpoint, layer);
  const AttentionConfig config = checked_config(checkpoint, tensors, layer);
  require_fits(weights, config);
  std::vector<std::byte> bytes;
  std::vector<double> stored;
  const auto require = [&](const StoredTensor& tensor, Index offset, std::span<const double> numbers) {
    const Dtype dtype = store_as.value_or(tensor.info->dtype);
    stored.resize(numbers.size());
    bytes.resize(stored.size() * size_of(dtype));
    encode(dtype, numbers, bytes);
    decode(dtype, bytes, stored);
    const auto [number, rounded] = std::ranges::mismatch(numbers, stored);
    if (number == numbers.end()) return;
    throw FormatError(tensor.describe() + ": new entry " +
                      position_text(tensor.info->shape, offset + (number - numbers.begin())) +
                      " would be rounded in dtype " + std::string(name_of(dtype)) +
                      ", so the output would not be exact");
  };
  Run run;
  ModuleSlices(config, tensors.placement()).for_each(weights, [&](const ModuleSlice<const double>& slice) {
    require(*tensors.at(slice.projection, slice.part), slice.offset, run.gathered(slice));
  });
  for (const StoredGain& gain : stored_gains(checkpoint, tensors, config, weights))
    require(gain.tensor, 0, gain.numbers);
}

}  // namespace attnsym
