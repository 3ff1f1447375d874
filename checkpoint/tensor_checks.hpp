#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"

namespace attnsym {

/// @param config_name  where the shape comes from, for messages
/// @throws ShapeError if the tensor has another shape, FormatError if its dtype cannot be read
void require_readable(const StoredTensor& tensor, const std::vector<std::int64_t>& shape,
                      const char* config_name);

/// @param rule  what config.json says about this bias, and `flag` the key that says it, if one does
/// @param bias  as stored, beside `weight`
/// @throws FormatError where a bias is stored that the class does not read, or one that it reads is not
void require_bias(const Checkpoint& checkpoint, BiasRule rule, const std::optional<Switch>& flag,
                  const StoredTensor& weight, const std::optional<StoredTensor>& bias);

/// [row, column] of an entry in a stored tensor.
std::string position_text(const std::vector<std::int64_t>& shape, Index offset);

bool all_finite(std::span<const double> numbers);

/// @param offset  of the first of these numbers in the tensor @param origin  "stored" or "new", for messages
/// @throws FormatError naming tensor, position and number if one is not finite
void require_finite(const StoredTensor& tensor, Index offset, std::span<const double> numbers,
                    const char* origin);

}  // namespace attnsym
