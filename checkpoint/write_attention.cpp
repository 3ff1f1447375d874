#include "checkpoint/write_attention.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "checkpoint/in_pieces.hpp"
#include "checkpoint/lost_range.hpp"
#include "checkpoint/module_tensors.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/stored_numbers.hpp"
#include "checkpoint/tensor_checks.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

NamedTensor blank_tensor(const TensorInfo& info, Dtype dtype, bool transposed) {
  std::vector<std::int64_t> shape = info.shape;
  if (transposed && shape.size() == 2) std::swap(shape[0], shape[1]);
  return {info.name, dtype, shape, std::vector<std::byte>(byte_count(dtype, shape).value())};
}

// The numbers of a slice, one after the other.
class Run {
 public:
  std::span<const double> gathered(const ModuleSlice<const double>& slice) {
    if (slice.stride == 1) return {slice.numbers, static_cast<std::size_t>(slice.count)};
    numbers_.resize(static_cast<std::size_t>(slice.count));
    for (std::size_t i = 0; i < numbers_.size(); ++i)
      numbers_[i] = slice.numbers[static_cast<Index>(i) * slice.stride];
    return numbers_;
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

// The gains of queries and of keys in the rows that are stored: those that all heads share, or those of one
// head after the other.
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

}  // namespace

std::vector<NamedTensor> attention_tensors(const Checkpoint& checkpoint, Index layer,
                                           const AttentionWeights<double>& weights,
                                           std::optional<Dtype> store_as) {
  const ModuleTensors tensors(checkpoint, layer);
  const AttentionConfig config = checked_config(checkpoint, tensors, layer);
  require_fits(weights, config);
  require_range(checkpoint, layer, weights, store_as);

  std::vector<NamedTensor> encoded;
  const bool transposes = tensors.written_as().transposed != tensors.placement().transposed;
  const std::vector<StoredTensor> present = tensors.present();
  encoded.reserve(present.size());
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
