#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace attnsym {

/// Reads a table of labels: a line `file,label`, then one line for every file. Line ends may be those of DOS.
/// @return the labels in the order of `files`
/// @throws FormatError naming table, line and reason: another header, a label that is not a finite number, a
/// file that is not among `files` or has two labels; or one of `files` has none. IoError if there is no
/// table.
std::vector<double> read_labels(const std::filesystem::path& table, const std::vector<std::string>& files);

}  // namespace attnsym
