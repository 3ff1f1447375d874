#include "checkpoint/attention_io.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "checkpoint/module_slices.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/stored_numbers.hpp"
#include "checkpoint/tensor_checks.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// The stored tensors of one module. A bias may be absent, a weight may not. Projections may share a tensor.
class ModuleTensors {
 public:
  ModuleTensors(const Checkpoint& checkpoint, Index layer)
      : placement_{checkpoint.layout().packing, false, checkpoint.layout().positions.pairs},
        written_as_(placement_) {
    const Layout& layout = checkpoint.layout();
    const std::array<const LinearNames*, 4> linears{&layout.query, &layout.key, &layout.value,
                                                    &layout.output};
    for (std::size_t i = 0; i < linears.size(); ++i) {
      tensors_[2 * i] = checkpoint.require(linears[i]->weight, layer);
      tensors_[2 * i + 1] = checkpoint.find(linears[i]->bias, layer);
    }
    placement_.transposed = layout.transposed && !is_untransposed(checkpoint.config());
    written_as_ = placement_;
    if (checkpoint.foreign()) written_as_ = {layout.packing, layout.transposed, PairLayout::HalfSplit};
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

  /// Of the tensors that take their place: those of GGUF and llama2.c files are written as Hugging Face has
  /// them.
  const Placement& written_as() const { return written_as_; }

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
  Placement written_as_;
};

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

void require_shapes(const ModuleTensors& tensors, const AttentionConfig& config, const char* config_name) {
  const ModuleSlices slices(config, tensors.placement());
  for (const Projection projection :
       {Projection::Query, Projection::Key, Projection::Value, Projection::Output}) {
    const std::vector<std::int64_t> shape = slices.shape(projection);
    require_readable(*tensors.at(projection, Part::Weight), shape, config_name);
    if (const auto& bias = tensors.at(projection, Part::Bias))
      require_readable(*bias, {tensors.placement().transposed ? shape[1] : shape[0]}, config_name);
  }
  if (!config.qk_norm) return;
  const bool own = config.qk_norm->gains == QkGains::Own;
  require_readable(*tensors.query_gain(), {(own ? config.heads : 1) * config.key_width}, config_name);
  require_readable(*tensors.key_gain(), {(own ? config.groups : 1) * config.key_width}, config_name);
}

std::optional<QkNorm> qk_norm_of(const Checkpoint& checkpoint) {
  if (checkpoint.layout().query_norm.empty()) return std::nullopt;
  const bool over_all_heads = checkpoint.layout().norm_over_all_heads;
  return QkNorm{checkpoint.config().norm_epsilon, over_all_heads ? QkGains::Own : QkGains::Shared,
                over_all_heads};
}

AttentionConfig checked_config(const Checkpoint& checkpoint, const ModuleTensors& tensors, Index layer) {
  const AttentionConfig config = config_of(checkpoint.config(), qk_norm_of(checkpoint), tensors, layer);
  require_shapes(tensors, config, checkpoint.config_name());
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

NamedTensor blank_tensor(const TensorInfo& info, Dtype dtype, bool transposed) {
  std::vector<std::int64_t> shape = info.shape;
  if (transposed && shape.size() == 2) std::swap(shape[0], shape[1]);
  return {info.name, dtype, shape, std::vector<std::byte>(byte_count(dtype, shape).value())};
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

// Numbers in pieces that stay in the cache while several things are done with them.
template <class Visit>
void for_each_piece(std::size_t count, Visit visit) {
  constexpr std::size_t piece = 4096;
  for (std::size_t first = 0; first < count; first += piece) visit(first, std::min(piece, count - first));
}

// Fills a slice of weights, and the same slice of radii unless there are none.
void read_slice(const StoredTensor& tensor, const ModuleSlice<double>& slice, double* radius, Radii radii,
                Run& run, Run& radius_run) {
  const bool dense = slice.stride == 1;
  const auto count = static_cast<std::size_t>(slice.count);
  const std::span<double> numbers = dense ? std::span(slice.numbers, count) : run.of(slice.count);
  std::span<double> errors;
  if (radius != nullptr) errors = dense ? std::span(radius, count) : radius_run.of(slice.count);
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
  Run run;
  Run radius_run;
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

// Where a number of a stored row of gains belongs, which has those of one head or of several.
Index place_of(Index stored, const ModuleSlices& slices, const AttentionConfig& config) {
  const Index in_head = stored % config.key_width;
  return stored - in_head + slices.coordinate(in_head);
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
                                     const ModuleSlices& slices, const AttentionConfig& config,
                                     const AttentionWeights<double>& weights) {
  std::vector<StoredGain> gains;
  if (!config.qk_norm) return gains;
  const auto add = [&](const std::optional<StoredTensor>& tensor, const RowVector<double>& gain) {
    std::vector<double> stored(static_cast<std::size_t>(gain.size()));
    for (Index k = 0; k < gain.size(); ++k)
      stored[k] = gain(place_of(k, slices, config)) - checkpoint.layout().norm_offset;
    gains.push_back({*tensor, std::move(stored)});
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

StoredAttention read_attention(const Checkpoint& checkpoint, Index layer, Radii what) {
  const ModuleTensors tensors(checkpoint, layer);
  StoredAttention module;
  module.config = checked_config(checkpoint, tensors, layer);
  module.weights = allocate(module.config);
  module.radius = allocate(module.config);
  read_slices(tensors, module.config, module.weights, &module.radius, what);
  if (module.config.qk_norm) {
    const ModuleSlices slices(module.config, tensors.placement());
    const double offset = checkpoint.layout().norm_offset;
    const auto [queries, query_radius] =
        read_gain(*tensors.query_gain(), offset, slices, module.config, what);
    const auto [keys, key_radius] = read_gain(*tensors.key_gain(), offset, slices, module.config, what);
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

std::vector<NamedTensor> attention_tensors(const Checkpoint& checkpoint, Index layer,
                                           const AttentionWeights<double>& weights,
                                           std::optional<Dtype> store_as) {
  const ModuleTensors tensors(checkpoint, layer);
  const AttentionConfig config = checked_config(checkpoint, tensors, layer);
  require_fits(weights, config);

  std::vector<NamedTensor> encoded;
  const bool transposes = tensors.written_as().transposed != tensors.placement().transposed;
  const std::vector<StoredTensor> present = tensors.present();
  for (const StoredTensor& tensor : present)
    encoded.push_back(
        blank_tensor(*tensor.info, store_as.value_or(written_dtype(tensor.info->dtype)), transposes));
  const auto target_of = [&](const StoredTensor& tensor) -> NamedTensor& {
    const auto place = std::ranges::find(present, tensor.info, &StoredTensor::info);
    return encoded[static_cast<std::size_t>(place - present.begin())];
  };
  const ModuleSlices slices(config, tensors.written_as());
  Run run;
  slices.for_each(weights, [&](const ModuleSlice<const double>& slice) {
    const StoredTensor& tensor = *tensors.at(slice.projection, slice.part);
    const std::span<const double> numbers = run.gathered(slice);
    NamedTensor& target = target_of(tensor);
    for_each_piece(numbers.size(), [&](std::size_t first, std::size_t size) {
      const std::span<const double> piece = numbers.subspan(first, size);
      const Index offset = slice.offset + static_cast<Index>(first);
      require_finite(tensor, offset, piece, "new");
      encode_run(tensor, offset, piece, target);
    });
  });
  for (const StoredGain& gain : stored_gains(checkpoint, tensors, slices, config, weights)) {
    require_finite(gain.tensor, 0, gain.numbers, "new");
    encode_run(gain.tensor, 0, gain.numbers, target_of(gain.tensor));
  }
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
    const Dtype dtype = store_as.value_or(written_dtype(tensor.info->dtype));
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
  const ModuleSlices slices(config, tensors.placement());
  slices.for_each(weights, [&](const ModuleSlice<const double>& slice) {
    require(*tensors.at(slice.projection, slice.part), slice.offset, run.gathered(slice));
  });
  for (const StoredGain& gain : stored_gains(checkpoint, tensors, slices, config, weights))
    require(gain.tensor, 0, gain.numbers);
}

}  // namespace attnsym
