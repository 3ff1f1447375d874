#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace attnsym {

/// What to tell whoever has called the program in a way that it does not understand: the parser's words,
/// and the command or option that comes nearest to what was typed.
/// @param arguments  without the program's name
std::string usage_message(const CLI::App& app, const CLI::Error& error,
                          const std::vector<std::string>& arguments);

}  // namespace attnsym
