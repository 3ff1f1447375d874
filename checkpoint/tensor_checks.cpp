#include "checkpoint/tensor_checks.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// Without a branch per number, so that it costs little beside decoding.
bool all_finite(std::span<const double> numbers) {
  bool finite = true;
  for (const double number : numbers) finite &= std::abs(number) <= std::numeric_limits<double>::max();
  return finite;
}

}  // namespace

void require_readable(const StoredTensor& tensor, const std::vector<std::int64_t>& shape,
                      const char* config_name) {
  if (tensor.info->shape != shape) {
    throw ShapeError(tensor.describe() + " is " + shape_text(tensor.info->shape) + ", expected " +
                     shape_text(shape) + " by " + config_name);
  }
  if (!is_readable_float(tensor.info->dtype) && !is_readable_block(tensor.info->dtype)) {
    throw FormatError(tensor.describe() + " has dtype " + std::string(name_of(tensor.info->dtype)) +
                      "; F64, F32, F16, BF16, Q8_0, Q4_0 and Q4_1 can be read");
  }
}

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

}  // namespace attnsym
