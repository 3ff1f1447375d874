#include "checkpoint/lost_range.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>

#include "checkpoint/module_tensors.hpp"
#include "checkpoint/read_attention.hpp"
#include "checkpoint/stored_numbers.hpp"
#include "checkpoint/tensor_checks.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

std::span<const double> all_of(const Matrix<double>& matrix) {
  return {matrix.data(), static_cast<std::size_t>(matrix.size())};
}

double smallest_normal(const Rounding& rounding) { return rounding.absolute / rounding.relative; }

// The largest number that is not kept to the unit roundoff.
std::size_t largest_lost(std::span<const double> numbers, const Rounding& rounding) {
  const auto size = [&](double w) { return std::abs(w) < smallest_normal(rounding) ? std::abs(w) : -1; };
  return static_cast<std::size_t>(std::ranges::max_element(numbers, {}, size) - numbers.begin());
}

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

bool is_kept(double share, const Rounding& rounding) { return !(share > 2 * rounding.relative); }

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

double largest_share(const AttentionWeights<double>& weights, Projection projection,
                     const Rounding& rounding) {
  double largest = 0;
  for (const Matrix<double>& slot : slots_of(weights, projection))
    largest = std::max(largest, lost_share(all_of(slot), rounding));
  return largest;
}

}  // namespace

double lost_share(std::span<const double> numbers, const Rounding& rounding) {
  if (rounding.absolute == 0) return 0;
  const double unit = 1 / smallest_normal(rounding);  // squares of these neither vanish nor overflow together
  double lost = 0;
  double all = 0;
  for (const double number : numbers) {
    const double size = std::abs(number) * unit;
    const double step = std::min(size, rounding.relative);
    lost += size < 1 ? step * step : 0;
    all += size * size;
  }
  return all > 0 ? std::sqrt(lost / all) : 0;
}

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

void require_range(const StoredTensor& tensor, std::span<const double> numbers, Dtype dtype) {
  const Rounding rounding = rounding_of(dtype);
  const double share = lost_share(numbers, rounding);
  if (is_kept(share, rounding)) return;
  const Dtype old = tensor.info->dtype;
  std::vector<double> before(numbers.size());
  if (byte_count(old, tensor.info->shape) == tensor.bytes().size() && is_readable_float(old)) {
    read_numbers(tensor, 0, before, {}, Radii::Decoded);
    if (share <= 2 * lost_share(before, rounding_of(old))) return;
  }
  const std::size_t place = largest_lost(numbers, rounding);
  refuse(tensor, "new entry " + position_text(tensor.info->shape, static_cast<Index>(place)), numbers[place],
         dtype);
}

void require_range(const Checkpoint& checkpoint, Index layer, const AttentionWeights<double>& weights,
                   std::optional<Dtype> store_as) {
  const ModuleTensors tensors(checkpoint, layer);
  for (const Projection projection :
       {Projection::Query, Projection::Key, Projection::Value, Projection::Output}) {
    const StoredTensor& tensor = *tensors.at(projection, Part::Weight);
    const Dtype dtype = store_as.value_or(written_dtype(tensor.info->dtype));
    const Rounding rounding = rounding_of(dtype);
    const double share = largest_share(weights, projection, rounding);
    if (is_kept(share, rounding)) continue;
    const AttentionWeights<double> before = read_attention(checkpoint, layer, Radii::Decoded).weights;
    if (share <= 2 * largest_share(before, projection, rounding_of(written_dtype(tensor.info->dtype))))
      continue;
    const Slots slots = slots_of(weights, projection);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      const std::span<const double> numbers = all_of(slots[i]);
      if (lost_share(numbers, rounding) == share)
        refuse(tensor, "a new number of head or group " + std::to_string(i),
               numbers[largest_lost(numbers, rounding)], dtype);
    }
  }
}

}  // namespace attnsym
