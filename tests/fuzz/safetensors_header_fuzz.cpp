#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "checkpoint/safetensors_header.hpp"
#include "symmetry/errors.hpp"

// Every input is either refused with FormatError or read into tensors that lie inside it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  try {
    const attnsym::TensorTable header = attnsym::parse_safetensors_header(file, "fuzz");
    for (const attnsym::TensorInfo& tensor : header.tensors) {
      if (tensor.begin > tensor.end || tensor.end > size - header.data_offset) std::abort();
    }
  } catch (const attnsym::FormatError&) {
  }
  return 0;
}
