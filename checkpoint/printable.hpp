#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attnsym {

/// Text from a file, made fit for an error message: 'text' in quotes, bytes other than printable ASCII shown
/// as ?, cut after 120 characters. A hostile tensor name can then neither flood nor control a terminal.
std::string in_quotes(std::string_view text);

/// Text that may come from a file, fit for a terminal and for JSON: control characters other than line ends,
/// and bytes that are no UTF-8, are shown as ?.
std::string printable(std::string_view text);

/// The parts with a separator between them.
std::string joined(const std::vector<std::string>& parts, std::string_view separator);

/// [2, 3, 4]
std::string shape_text(const std::vector<std::int64_t>& shape);

}  // namespace attnsym
