#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "checkpoint/gguf_model.hpp"
#include "checkpoint/model_config.hpp"
#include "symmetry/errors.hpp"

// Every input is either refused with FormatError or read into tensors that lie inside it and a configuration
// that can be worked with.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  try {
    const attnsym::ForeignModel model = attnsym::read_gguf_model(file, "fuzz");
    for (const attnsym::TensorInfo& tensor : model.table.tensors) {
      if (tensor.begin > tensor.end || tensor.end > size - model.table.data_offset) std::abort();
    }
    const attnsym::ModelConfig config = attnsym::parse_model_config(model.config, "fuzz").config;
    if (config.layers < 1 || config.heads < 1 || config.kv_heads < 1) std::abort();
  } catch (const attnsym::FormatError&) {
  }
  return 0;
}
