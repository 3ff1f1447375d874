#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "checkpoint/gguf.hpp"
#include "checkpoint/gguf_architecture.hpp"
#include "checkpoint/gguf_metadata.hpp"

namespace attnsym {

/// The text of a config.json that says the same model as the metadata do.
/// @param file  the whole file, for the frequency factors that some models keep in a tensor
/// @throws FormatError for what is missing, and for every key about attention or rotary positions that is not
/// understood, so that none is ignored.
std::string gguf_config(const GgufHeader& header, GgufMetadata& metadata,
                        const GgufArchitecture& architecture, std::span<const std::byte> file);

}  // namespace attnsym
