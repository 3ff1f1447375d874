#include "checkpoint/converted_file.hpp"

#include <algorithm>

#include "checkpoint/stored_numbers.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

void require_convertible(const StoredTensor& tensor, const Checkpoint& source) {
  if (source.foreign()->unnamed.contains(tensor.info->name))
    throw FormatError(tensor.describe() + " has no place in a " + source.config().model_type +
                      " model as Hugging Face stores it, so the model cannot be written as one");
  const Dtype dtype = tensor.info->dtype;
  if (block_length(dtype) > 1 && !is_readable_block(dtype))
    throw FormatError(
        tensor.describe() + " has dtype " + std::string(name_of(dtype)) +
        ", which cannot be decoded, so the model cannot be written as safetensors; of quantised ones "
        "Q8_0, Q4_0 and Q4_1 can");
}

// The header entry of what a tensor becomes, without offsets.
TensorInfo converted(const TensorInfo& tensor, const ForeignModel& model, Dtype dtype) {
  TensorInfo result{tensor.name, dtype, tensor.shape, 0, 0};
  if (model.transposed.contains(tensor.name) && result.shape.size() == 2)
    std::swap(result.shape[0], result.shape[1]);
  result.end = byte_count(dtype, result.shape).value();
  return result;
}

// By dtype size descending, so that all are aligned.
void lay_out(std::vector<TensorInfo>& tensors) {
  std::ranges::stable_sort(tensors, std::greater<>(),
                           [](const TensorInfo& tensor) { return size_of(tensor.dtype); });
  std::size_t offset = 0;
  for (TensorInfo& tensor : tensors) {
    const std::size_t size = tensor.size();
    tensor.begin = offset;
    tensor.end = offset += size;
  }
}

std::vector<double> transposed(const std::vector<double>& numbers, const std::vector<std::int64_t>& shape) {
  const auto rows = static_cast<std::size_t>(shape[0]);
  const auto columns = static_cast<std::size_t>(shape[1]);
  std::vector<double> result(numbers.size());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) result[j * rows + i] = numbers[i * columns + j];
  }
  return result;
}

}  // namespace

ConvertedFile::ConvertedFile(const Checkpoint& source, const std::filesystem::path& target,
                             const std::set<std::string>& replaced, std::optional<Dtype> store_as)
    : source_(source), target_(File::create(target)) {
  plan(replaced, store_as);
}

void ConvertedFile::plan(const std::set<std::string>& replaced, std::optional<Dtype> store_as) {
  const ForeignModel& model = *source_.foreign();
  std::vector<TensorInfo> tensors;
  for (const TensorInfo& tensor : source_.files().front().tensors()) {
    if (model.in_config.contains(tensor.name)) continue;
    require_convertible({&source_.files().front(), &tensor}, source_);
    const Dtype dtype = written_dtype(tensor.dtype);
    tensors.push_back(
        converted(tensor, model, replaced.contains(tensor.name) ? store_as.value_or(dtype) : dtype));
  }
  lay_out(tensors);
  const std::vector<std::byte> head = serialize_header(tensors, {{"format", "pt"}});
  target_.write_at(0, head);
  data_offset_ = head.size();
  for (const TensorInfo& tensor : tensors) {
    if (replaced.contains(tensor.name)) {
      replaced_[tensor.name] = tensor;
    } else {
      kept_.push_back(tensor);
    }
  }
}

void ConvertedFile::write(const NamedTensor& tensor) {
  target_.write_at(data_offset_ + replaced_.at(tensor.name).begin, tensor.bytes);
}

void ConvertedFile::copy_kept() {
  for (const TensorInfo& tensor : kept_) convert(*source_.find(tensor.name), tensor);
}

// Piece by piece, but for what is transposed.
void ConvertedFile::convert(const StoredTensor& from, const TensorInfo& to) {
  const ForeignModel& model = *source_.foreign();
  const bool transposes = model.transposed.contains(to.name);
  const double added = model.one_added.contains(to.name) ? 1 : 0;
  const std::size_t place = data_offset_ + to.begin;
  if (!transposes && added == 0 && from.info->dtype == to.dtype) return target_.write_at(place, from.bytes());
  constexpr std::size_t piece = std::size_t{1} << 18;
  const std::size_t count = to.size() / size_of(to.dtype);
  std::vector<double> numbers;
  std::vector<std::byte> bytes;
  for (std::size_t first = 0; first < count; first += numbers.size()) {
    numbers.resize(transposes ? count : std::min(piece, count - first));
    read_numbers(from, first, numbers, {}, Radii::Decoded);
    for (double& number : numbers) number -= added;
    if (transposes) numbers = transposed(numbers, from.info->shape);
    bytes.resize(numbers.size() * size_of(to.dtype));
    encode(to.dtype, numbers, bytes);
    target_.write_at(place + first * size_of(to.dtype), bytes);
  }
  from.file->done_with(*from.info);
}

}  // namespace attnsym
