#pragma once

#include <CLI/App.hpp>

#include "tools/exit_status.hpp"

namespace attnsym {

/// Each adds one subcommand to the program; when the user calls it, its answer is left in `status`.
void setup_check(CLI::App& app, ExitStatus& status);
void setup_certify(CLI::App& app, ExitStatus& status);
void setup_canonicalize(CLI::App& app, ExitStatus& status);
void setup_act(CLI::App& app, ExitStatus& status);
void setup_explain(CLI::App& app, ExitStatus& status);
void setup_layout(CLI::App& app, ExitStatus& status);
void setup_equivariance(CLI::App& app, ExitStatus& status);
void setup_nfn(CLI::App& app, ExitStatus& status);

}  // namespace attnsym
