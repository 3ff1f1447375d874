#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace attnsym {

/// One word for sh, whatever it holds.
std::string in_shell_quotes(const std::string& text);

/// Runs a command with /bin/sh, without input; what it prints goes to the file `said`. It and what it has
/// started is ended when its time is up, or when this process is interrupted.
/// @param timeout  seconds
/// @return its exit status, 128 + the signal if one ended it; nothing if its time was up
/// @throws IoError if no process could be started.
std::optional<int> run_in_shell(const std::string& command, const std::filesystem::path& said,
                                double timeout);

}  // namespace attnsym
