#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace attnsym {

/// Copies a model's directory with all it holds, except the files in `skip` (paths as `from` / relative
/// path), what holds the same weights in other formats or an older state of it (pytorch_model.bin, onnx/,
/// .git and the like), links to anything but files, and the list of an earlier output. Links to files become
/// files, because relative links would break (model caches consist of them). Directories get ordinary
/// permissions, files those of their source without setuid and setgid.
/// @returns what was left out besides `skip`, relative to `from`
/// @throws IoError naming what could not be copied, also for devices, sockets and FIFOs.
std::vector<std::string> copy_tree(const std::filesystem::path& from, const std::filesystem::path& to,
                                   const std::set<std::filesystem::path>& skip);

}  // namespace attnsym
