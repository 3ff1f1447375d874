#include "checkpoint/lost_range.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <utility>

#include "checkpoint/module_tensors.hpp"
#include "checkpoint/read_attention.hpp"
#include "checkpoint/stored_numbers.hpp"
#include "checkpoint/tensor_checks.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

double smallest_normal(const Rounding& rounding) { return rounding.absolute / rounding.relative; }

std::string brief_number(double number) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.3g", number);
  return text.data();
}

bool is_ordinary(double largest) { return largest == 0 || (largest < 1e60 && largest > 1e-60); }

constexpr const char* beyond = ", beyond what can be rewritten without loss (1e-60 to 1e60)";

[[noreturn]] void refuse(const StoredTensor& tensor, const std::string& which, double number, Dtype dtype) {
  throw FormatError(tensor.describe() + ": " + which + " would be " + brief_number(number) +
                    ", too small for dtype " + std::string(name_of(dtype)) +
                    ": what is written would compute something else (another --dtype may hold it)");
}

LostRange lost_of(const Matrix<double>& slot, const Rounding& rounding) {
  LostRange lost(rounding);
  lost.add({slot.data(), static_cast<std::size_t>(slot.size())});
  return lost;
}

// The matrices of one projection, one for every head or group.
using Slots = std::vector<std::reference_wrapper<const Matrix<double>>>;

Slots slots_of(const AttentionWeights<double>& weights, Projection projection) {
  Slots slots;
  for (const KvGroup<double>& group : weights.groups) {
    if (projection == Projection::Key) slots.emplace_back(group.key);
    if (projection == Projection::Value) slots.emplace_back(group.value);
    for (const QueryHead<double>& reader : group.readers) {
      if (projection == Projection::Query) slots.emplace_back(reader.query);
      if (projection == Projection::Output) slots.emplace_back(reader.output);
    }
  }
  return slots;
}

// Of the slot that loses most.
std::pair<std::size_t, LostRange> largest_loss(const AttentionWeights<double>& weights, Projection projection,
                                               const Rounding& rounding) {
  std::pair<std::size_t, LostRange> largest(0, LostRange(rounding));
  const Slots slots = slots_of(weights, projection);
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const LostRange lost = lost_of(slots[i], rounding);
    if (lost.share() > largest.second.share()) largest = {i, lost};
  }
  return largest;
}

}  // namespace

void LostRange::add(std::span<const double> numbers) {
  const std::int64_t first = std::exchange(count_, count_ + static_cast<std::int64_t>(numbers.size()));
  if (rounding_.absolute == 0) return;
  const double unit =
      1 / smallest_normal(rounding_);  // squares of these neither vanish nor overflow together
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const double size = std::abs(numbers[i]) * unit;
    all_ += size * size;
    if (!(size < 1)) continue;
    const double step = std::min(size, rounding_.relative);
    lost_ += step * step;
    if (std::abs(numbers[i]) <= std::abs(largest_)) continue;
    largest_ = numbers[i];
    place_ = first + static_cast<std::int64_t>(i);
  }
}

double LostRange::share() const { return all_ > 0 ? std::sqrt(lost_ / all_) : 0; }

void require_ordinary_sizes(const StoredTensor& tensor) {
  if (tensor.info->dtype != Dtype::F64) return;
  std::vector<double> numbers(tensor.bytes().size() / sizeof(double));
  read_numbers(tensor, 0, numbers, {}, Radii::Decoded);
  const auto size = [](double number) { return std::abs(number); };
  const auto largest = std::ranges::max_element(numbers, {}, size);
  if (largest == numbers.end() || is_ordinary(size(*largest))) return;
  throw FormatError(tensor.describe() + ": entry " +
                    position_text(tensor.info->shape, largest - numbers.begin()) + " is " +
                    brief_number(*largest) + beyond);
}

void require_ordinary_sizes(const Checkpoint& checkpoint, Index layer) {
  const ModuleTensors tensors(checkpoint, layer);
  std::optional<AttentionWeights<double>> weights;
  for (const Projection projection :
       {Projection::Query, Projection::Key, Projection::Value, Projection::Output}) {
    const StoredTensor& tensor = *tensors.at(projection, Part::Weight);
    if (tensor.info->dtype != Dtype::F64) continue;
    if (!weights) weights = read_attention(checkpoint, layer, Radii::Decoded).weights;
    const Slots slots = slots_of(*weights, projection);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const Matrix<double>& slot = slots[i];
      const double size = slot.size() > 0 ? slot.cwiseAbs().maxCoeff() : 0;
      if (is_ordinary(size)) continue;
      throw FormatError(tensor.describe() + ": the largest number of head or group " + std::to_string(i) +
                        " is " + brief_number(size) + beyond);
    }
  }
}

void require_range(const StoredTensor& tensor, const LostRange& lost, Dtype dtype) {
  if (lost.is_kept()) return;
  const Dtype old = tensor.info->dtype;
  if (byte_count(old, tensor.info->shape) == tensor.bytes().size() && is_readable_float(old)) {
    std::vector<double> numbers(static_cast<std::size_t>(lost.count()));
    read_numbers(tensor, 0, numbers, {}, Radii::Decoded);
    LostRange before(rounding_of(old));
    before.add(numbers);
    if (lost.share() <= 2 * before.share()) return;
  }
  refuse(tensor, "new entry " + position_text(tensor.info->shape, lost.place()), lost.largest(), dtype);
}

void require_range(const Checkpoint& checkpoint, Index layer, const AttentionWeights<double>& weights,
                   std::optional<Dtype> store_as) {
  const ModuleTensors tensors(checkpoint, layer);
  for (const Projection projection :
       {Projection::Query, Projection::Key, Projection::Value, Projection::Output}) {
    const StoredTensor& tensor = *tensors.at(projection, Part::Weight);
    const Dtype dtype = store_as.value_or(written_dtype(tensor.info->dtype));
    const auto [slot, lost] = largest_loss(weights, projection, rounding_of(dtype));
    if (lost.is_kept()) continue;
    const AttentionWeights<double> before = read_attention(checkpoint, layer, Radii::Decoded).weights;
    const Rounding old = rounding_of(written_dtype(tensor.info->dtype));
    if (lost.share() <= 2 * largest_loss(before, projection, old).second.share()) continue;
    refuse(tensor, "a new number of head or group " + std::to_string(slot), lost.largest(), dtype);
  }
}

}  // namespace attnsym
