#include "tools/typing_error.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

#include "checkpoint/printable.hpp"

namespace attnsym {
namespace {

// Letters to be put in, left out, changed, or exchanged with a neighbour.
std::size_t edits_between(const std::string& from, const std::string& to) {
  std::vector<std::vector<std::size_t>> edits(from.size() + 1, std::vector<std::size_t>(to.size() + 1));
  for (std::size_t i = 0; i <= from.size(); ++i) {
    for (std::size_t k = 0; k <= to.size(); ++k) {
      if (i == 0 || k == 0) {
        edits[i][k] = i + k;
        continue;
      }
      const std::size_t changed = edits[i - 1][k - 1] + (from[i - 1] == to[k - 1] ? 0 : 1);
      edits[i][k] = std::min({edits[i - 1][k] + 1, edits[i][k - 1] + 1, changed});
      if (i > 1 && k > 1 && from[i - 1] == to[k - 2] && from[i - 2] == to[k - 1])
        edits[i][k] = std::min(edits[i][k], edits[i - 2][k - 2] + 1);
    }
  }
  return edits.back().back();
}

std::optional<std::string> nearest(const std::string& typed, const std::vector<std::string>& known) {
  if (typed.size() > 100) return std::nullopt;
  std::optional<std::string> best;
  std::size_t least = typed.size() / 3 + 1;
  for (const std::string& name : known) {
    const std::size_t edits = edits_between(typed, name);
    if (edits > least || (best && edits == least)) continue;
    least = edits;
    best = name;
  }
  return best;
}

std::string suggestion(const std::string& typed, const std::vector<std::string>& known) {
  const auto meant = nearest(typed, known);
  return meant ? "; did you mean " + *meant + "?" : "";
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// The command that was named, or the one inside it.
const CLI::App& named_command(const CLI::App& app) {
  const std::vector<CLI::App*> commands = app.get_subcommands();
  return commands.empty() ? app : named_command(*commands.front());
}

// What the parser says, unless the reason is a name that it does not know.
std::string reason(const CLI::App& app, const CLI::Error& error, const std::vector<std::string>& arguments) {
  const CLI::App& command = named_command(app);
  const std::vector<std::string> commands = command_names(command);
  const auto place = std::ranges::find(arguments, command.get_name());
  const auto next = place == arguments.end() ? arguments.begin() : place + 1;
  const bool lacks_command = !commands.empty() && command.get_subcommands().empty();
  if (lacks_command && next != arguments.end() && !next->starts_with("-"))
    return "there is no command " + in_quotes(*next) + suggestion(*next, commands);
  const std::vector<std::string> known = option_names(command);
  const std::vector<std::string> general = option_names(app);
  for (const std::string& argument : arguments) {
    const std::string name = argument.substr(0, argument.find('='));
    if (name.starts_with("--") && name.size() > 2 && std::ranges::find(known, name) == known.end() &&
        std::ranges::find(general, name) == general.end())
      return "there is no option " + in_quotes(name) + suggestion(name, known);
  }
  return error.what();
}

}  // namespace

std::string usage_message(const CLI::App& app, const CLI::Error& error,
                          const std::vector<std::string>& arguments) {
  return printable(reason(app, error, arguments)) + "\nRun with --help for more information.";
}

}  // namespace attnsym
