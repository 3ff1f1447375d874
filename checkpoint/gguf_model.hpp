#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "checkpoint/foreign_model.hpp"

namespace attnsym {

/// A whole GGUF file of one of the architectures in gguf_architecture.cpp.
/// @param name goes into messages: the file's name.
/// @throws FormatError with name, key or tensor, and reason: for what is broken, for other architectures, for
/// parts of split models, and for whatever in the metadata or the tensors would change attention and is not
/// known.
ForeignModel read_gguf_model(std::span<const std::byte> file, std::string_view name);

}  // namespace attnsym
