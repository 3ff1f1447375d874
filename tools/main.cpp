#include <malloc.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "checkpoint/printable.hpp"
#include "tools/commands.hpp"
#include "tools/executor.hpp"
#include "tools/interruption.hpp"
#include "tools/output.hpp"
#include "tools/typing_error.hpp"
#include "tools/version.hpp"

namespace {

constexpr const char* description =
    "Decides, with evidence, whether two transformer checkpoints compute the same attention.";

constexpr const char* footer =
    "A model is a directory with config.json and model.safetensors (or a sharded index), or one .safetensors "
    "file with "
    "--config.\n"
    "Exit status: 0 yes or done, 1 no, 2 trouble (usage, file, shape), 3 undecided.";

using attnsym::ExitStatus;

void set_up(CLI::App& app, ExitStatus& status) {
  app.footer(footer);
  app.set_version_flag("--version", attnsym::version, "Print the version and exit");
  app.require_subcommand(1);
  attnsym::setup_check(app, status);
  attnsym::setup_certify(app, status);
  attnsym::setup_canonicalize(app, status);
  attnsym::setup_act(app, status);
  attnsym::setup_explain(app, status);
  attnsym::setup_layout(app, status);
  attnsym::setup_equivariance(app, status);
  attnsym::setup_nfn(app, status);
}

// Answers are no use if nobody gets them.
void require_printed() {
  std::cout.flush();
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0 || !std::cout)
    throw std::runtime_error("standard output could not be written");
}

// Programs that read answers get troubles in the same way, beside the words for people.
ExitStatus report(const std::string& trouble, bool as_json) {
  std::fprintf(stderr, "attnsym: %s\n", trouble.c_str());
  try {
    if (as_json) attnsym::print_object(nlohmann::json{{"schema", "attnsym.trouble/1"}, {"trouble", trouble}});
    std::fflush(stdout);
  } catch (const std::exception&) {  // what was said is enough
  }
  return ExitStatus::trouble;
}

bool asks_for_json(const std::vector<std::string>& arguments) {
  return std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
}

ExitStatus run(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  ExitStatus status = ExitStatus::yes;
  CLI::App app{description, "attnsym"};
  set_up(app, status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version arrive here too, as successes.
    if (error.get_exit_code() != 0)
      return report(attnsym::usage_message(app, error, arguments), asks_for_json(arguments));
    app.exit(error);
  }
  require_printed();
  return status;
}

std::string peak_memory() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return "";
  return " with " + std::to_string(usage.ru_maxrss / 1024) + " MB in use";
}

}  // namespace

int main(int argc, char** argv) {
  // Matrices come and go by the megabyte; given back to the kernel each time, they cost a third of the run.
  mallopt(M_ARENA_MAX, 1);  // other arenas consist of pieces that are given back as soon as they are empty
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  attnsym::end_tidily();
  std::string trouble;
  try {
    return static_cast<int>(run(argc, argv));
  } catch (const std::bad_alloc&) {
    trouble = "out of memory" + peak_memory() + attnsym::memory_note();
  } catch (const std::exception& error) {
    trouble = error.what();
  }
  return static_cast<int>(report(attnsym::printable(trouble), asks_for_json({argv + 1, argv + argc})));
}
