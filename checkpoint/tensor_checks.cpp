#include "checkpoint/tensor_checks.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
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

void require_bias(const Checkpoint& checkpoint, BiasRule rule, const std::optional<Switch>& flag,
                  const StoredTensor& weight, const std::optional<StoredTensor>& bias) {
  if (rule == BiasRule::Never && bias) {
    throw FormatError(bias->describe() + " is stored, but " +
                      (flag->key.empty()
                           ? checkpoint.config().model_type + " models have no such bias"
                           : in_quotes(flag->key) + " is false in " + checkpoint.config_name()));
  }
  if (rule == BiasRule::Always && !bias && checkpoint.foreign() == nullptr) {
    throw FormatError(weight.describe() + " has no bias beside it, but " + in_quotes(flag->key) +
                      " is true in " + checkpoint.config_name());
  }
}

// By their bits and without a branch, which compilers turn into vector code.
bool all_finite(std::span<const double> numbers) {
  constexpr std::uint64_t exponent = 0x7ff0'0000'0000'0000U;
  std::uint64_t others = 0;
  for (const double number : numbers)
    others += (std::bit_cast<std::uint64_t>(number) & exponent) == exponent ? 1 : 0;
  return others == 0;
}

std::string position_text(const std::vector<std::int64_t>& shape, Index offset) {
  if (shape.empty()) return shape_text({offset});
  std::vector<std::int64_t> position(shape.size());
  for (std::size_t axis = shape.size(); axis-- > 1;) {
    position[axis] = offset % shape[axis];
    offset /= shape[axis];
  }
  position[0] = offset;
  return shape_text(position);
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
