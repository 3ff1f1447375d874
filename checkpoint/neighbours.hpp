#pragma once

#include <filesystem>

namespace attnsym {

/// Files beside the weights of a folder that make it another model.
///
/// @throws FormatError for an adapter: libraries add it to the weights as they load them.
void refuse_adapters(const std::filesystem::path& folder);

/// Whether the folder is one of sentence-transformers, whose modules.json lists what is made of the hidden
/// states of its transformer.
bool has_modules(const std::filesystem::path& folder);

/// @throws FormatError if modules.json lists a module with weights besides the transformer: they read the
/// stream, and are neither compared nor moved with it.
void require_modules_without_weights(const std::filesystem::path& folder);

}  // namespace attnsym
