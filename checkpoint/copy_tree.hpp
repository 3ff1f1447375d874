#pragma once

#include <filesystem>
#include <set>

namespace attnsym {

/// Copies a directory with all it holds, except the files in `skip` (paths as `from` / relative path). Links
/// to files become files, because relative links would break (model caches consist of them); other links are
/// kept as they are.
/// @throws IoError naming what could not be copied, also for devices, sockets and FIFOs.
void copy_tree(const std::filesystem::path& from, const std::filesystem::path& to,
               const std::set<std::filesystem::path>& skip);

}  // namespace attnsym
