#pragma once

#include <string_view>

namespace attnsym {

/// Checks that a text is one JSON value in valid UTF-8 without a key that occurs twice in an object and
/// without more than 64 levels of nesting. JSON libraries silently keep one of two equal keys, and which one
/// differs.
/// @param name goes into the message: the file the text comes from.
/// @throws FormatError with the name and the position.
void require_strict_json(std::string_view text, std::string_view name);

}  // namespace attnsym
