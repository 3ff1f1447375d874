#pragma once

#include <CLI/App.hpp>

#include "symmetry/run_tasks.hpp"
#include "tools/exit_status.hpp"

namespace attnsym {

/// Each adds one subcommand of `attnsym nfn`, as those of commands.hpp do.
void setup_nfn_train(CLI::App& nfn, ExitStatus& status);
void setup_nfn_predict(CLI::App& nfn, ExitStatus& status);
void setup_nfn_eval(CLI::App& nfn, ExitStatus& status);

/// What DIR and --labels are, for the --help of all of them.
extern const char* const network_folder_help;

}  // namespace attnsym
