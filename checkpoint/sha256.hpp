#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace attnsym {

/// SHA-256 as 64 lowercase hexadecimal digits.
std::string sha256(std::span<const std::byte> bytes);

/// The same of a file, read piece by piece. @throws IoError if the file cannot be read.
std::string sha256_file(const std::filesystem::path& path);

}  // namespace attnsym
