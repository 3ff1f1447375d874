#pragma once

#include <utility>

#include "checkpoint/safetensors_header.hpp"
#include "checkpoint/tensor_file.hpp"

namespace attnsym {

/// A safetensors file, mapped and checked.
class SafetensorsFile : public TensorFile {
 public:
  /// @throws IoError if the file cannot be read, FormatError if it is not a sound safetensors file.
  static SafetensorsFile open(const std::filesystem::path& path);

 private:
  explicit SafetensorsFile(TensorFile file) : TensorFile(std::move(file)) {}
};

}  // namespace attnsym
