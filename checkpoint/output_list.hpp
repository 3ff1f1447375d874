#pragma once

#include <filesystem>

namespace attnsym {

/// The list of files that a directory has when it is written, kept in it. What has none, or has come to hold
/// anything else, is not ours to replace.
constexpr const char* output_list_name = ".attnsym.json";

/// Writes the list of all that the directory holds. @throws IoError
void write_output_list(const std::filesystem::path& directory);

/// @throws IoError naming what is in the directory and not on its list, or that there is no list. An empty
/// directory may be replaced.
void require_own_output(const std::filesystem::path& directory);

}  // namespace attnsym
