#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "checkpoint/safetensors_header.hpp"

namespace attnsym {

/// A tensor in memory, row-major, little-endian.
struct NamedTensor {
  std::string name;
  Dtype dtype = Dtype::F32;
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

/// A whole safetensors file, for small ones: tensors by dtype size descending and then by name, so that all
/// data are aligned; the header padded with spaces to a multiple of 8 bytes. The same tensors give the same
/// bytes.
/// @throws ShapeError if the bytes do not agree with dtype and shape, FormatError on two tensors of one name.
std::vector<std::byte> serialize_safetensors(std::vector<NamedTensor> tensors,
                                             const std::map<std::string, std::string>& metadata);

/// The head of a file with these tensors in this order, up to where the data start: length, JSON, padding.
/// Offsets are taken from begin and end as they are.
std::vector<std::byte> serialize_header(const std::vector<TensorInfo>& tensors,
                                        const std::map<std::string, std::string>& metadata);

}  // namespace attnsym
