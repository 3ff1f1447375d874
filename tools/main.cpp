#include <malloc.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>

#include "tools/commands.hpp"
#include "tools/version.hpp"

namespace {

constexpr const char* description =
    "Decides, with evidence, whether two transformer checkpoints compute the same attention.";

constexpr const char* footer =
    "A model is a directory with config.json and model.safetensors (or a sharded index), or one .safetensors "
    "file with "
    "--config.\n"
    "Exit status: 0 yes or done, 1 no, 2 trouble (usage, file, shape), 3 undecided.";

}  // namespace

int main(int argc, char** argv) {
  // Matrices come and go by the megabyte; given back to the kernel each time, they cost a third of the run.
  mallopt(M_ARENA_MAX, 1);  // other arenas consist of pieces that are given back as soon as they are empty
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  CLI::App app{description, "attnsym"};
  app.footer(footer);
  app.set_version_flag("--version", attnsym::version, "Print the version and exit");
  app.require_subcommand(1);
  attnsym::ExitStatus status = attnsym::ExitStatus::yes;
  attnsym::setup_check(app, status);
  attnsym::setup_certify(app, status);
  attnsym::setup_canonicalize(app, status);
  attnsym::setup_act(app, status);
  attnsym::setup_explain(app, status);
  attnsym::setup_layout(app, status);
  attnsym::setup_equivariance(app, status);
  attnsym::setup_nfn(app, status);
  try {
    app.parse(argc, argv);
    if (std::fflush(stdout) != 0) throw std::runtime_error("standard output could not be written");
    return static_cast<int>(status);
  } catch (const CLI::ParseError& error) {
    // --help and --version arrive here too, as successes.
    return app.exit(error) == 0 ? 0 : static_cast<int>(attnsym::ExitStatus::trouble);
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "attnsym: out of memory\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "attnsym: %s\n", error.what());
  }
  return static_cast<int>(attnsym::ExitStatus::trouble);
}
