#include <cstdio>
#include <nlohmann/json.hpp>

#include "checkpoint/layout.hpp"
#include "symmetry/errors.hpp"
#include "tools/commands.hpp"
#include "tools/output.hpp"

namespace attnsym {
namespace {

ExitStatus run_layout(const std::string& family, bool as_json) {
  if (family.empty()) {
    if (as_json) {
      print_object({{"schema", "attnsym.layout/1"}, {"families", family_names()}});
    } else {
      for (const std::string& name : family_names()) std::printf("%s\n", name.c_str());
    }
    return ExitStatus::yes;
  }
  const std::vector<std::string> tables = family_tables(family);
  if (tables.empty())
    throw FormatError("no family '" + family + "' is built in; `attnsym layout` lists those that are");
  if (as_json) {
    nlohmann::json list = nlohmann::json::array();
    for (const std::string& table : tables) list.push_back(nlohmann::json::parse(table));
    print_object({{"schema", "attnsym.layout/1"}, {"family", family}, {"tables", list}});
  } else {
    for (const std::string& table : tables) std::printf("%s\n", table.c_str());
  }
  return ExitStatus::yes;
}

}  // namespace

void setup_layout(CLI::App& app, ExitStatus& status) {
  auto family = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "layout",
      "List the model families, or print the table of one: where its tensors are, what its config means");
  command->add_option("FAMILY", *family, "A model_type; for falcon there are several tables, by its flags");
  command->footer(
      "For a family that is not listed, save the table of a similar one, edit it, and pass it with --layout "
      "FILE.\n"
      "Patterns: {layer} is the layer's number, {previous} the one before. `defaults` stand for keys that "
      "config.json\n"
      "lacks, `when` lists flags of config.json that have to hold, `refuse` values of it that are not "
      "supported.\n"
      "`neutral` lists keys that change nothing: where there is such a list, all others that the table does "
      "not "
      "name are\n"
      "refused. `agree` pairs keys that say the same, `biases` says which maps have biases (true, false, or "
      "a "
      "flag),\n"
      "`stated` which keys state sizes of tensors.\n"
      "packing: separate (query, key, value), or query_key_value with concatenated (all q, all k, all v) or "
      "per_group\n"
      "(of every group its q, its k, its v). transposed: weights are [in, out]. positions.kind: none, rotary "
      "(with\n"
      "base, fraction, pairs: half_split or interleaved), alibi. A size, base or window is a key of "
      "config.json, a\n"
      "list of keys of which the first counts, or a number.");
  auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "Print one JSON object");
  command->callback([family, as_json, &status] { status = run_layout(*family, *as_json); });
}

}  // namespace attnsym
