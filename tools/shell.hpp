#pragma once

#include <optional>
#include <string>
#include <vector>

namespace attnsym {

/// One word for sh, whatever it holds.
std::string in_shell_quotes(const std::string& text);

/// How a command ended.
struct ShellResult {
  std::optional<int>
      status;        ///< its exit status, 128 + the signal if one ended it; nothing if its time was up
  std::string said;  ///< the last 4 kB that it printed
};

/// Runs a command with /bin/sh, without input. It and what it has started is ended when its time is up, or
/// when this process is interrupted.
/// @param arguments  $1, $2, ... of the command: nothing in them is read as a command
/// @param timeout  seconds
/// @throws IoError if no process could be started.
ShellResult run_in_shell(const std::string& command, const std::vector<std::string>& arguments,
                         double timeout);

}  // namespace attnsym
