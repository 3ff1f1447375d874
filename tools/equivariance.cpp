#include <algorithm>

#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"
#include "tools/commands.hpp"
#include "tools/equivariance_report.hpp"
#include "tools/number_options.hpp"
#include "tools/shell.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

struct EquivarianceOptions {
  std::string command;
  bool equivariant = true;
  bool invariant = false;
  std::string group = "block";
  bool residual = false;
  BlockShape shape{4, 2, 2, 2, 3};
  Index kv_groups = 0;  // 0: as many as heads
  std::vector<std::string> biases;
  std::string dtype = "F64";
  double timeout = 60;
  TrialOptions trial;
  bool as_json = false;
};

AttentionConfig attention_config(const EquivarianceOptions& options) {
  const auto has = [&](const char* bias) {
    return std::find(options.biases.begin(), options.biases.end(), bias) != options.biases.end();
  };
  AttentionConfig config;
  config.model_width = options.shape.model_width;
  config.heads = options.shape.heads;
  config.groups = options.kv_groups == 0 ? config.heads : options.kv_groups;
  config.key_width = options.shape.key_width;
  config.value_width = options.shape.value_width;
  config.query_bias = has("query");
  config.key_bias = has("key");
  config.value_bias = has("value");
  config.output_bias = has("output");
  return config;
}

std::unique_ptr<LayerGroup> group_of(const EquivarianceOptions& options) {
  if (options.group == "block") return block_layer_group(options.shape, !options.residual);
  return attention_layer_group(attention_config(options));
}

// The options that decide what is drawn, as the user would give them.
std::string replay(const EquivarianceOptions& options) {
  const auto number = [](const char* name, auto value) {
    return std::string(" ") + name + " " + std::to_string(value);
  };
  const BlockShape& shape = options.shape;
  std::string line = "attnsym equivariance --command " + in_shell_quotes(options.command);
  if (options.invariant) line += " --invariant";
  line += number("--width", shape.model_width) + number("--heads", shape.heads) +
          number("--key-width", shape.key_width) + number("--value-width", shape.value_width);
  if (options.group == "attention") {
    line += " --group attention";
    if (options.kv_groups > 0) line += number("--kv-groups", options.kv_groups);
    if (!options.biases.empty()) line += " --biases " + joined(options.biases, ",");
  } else {
    line += number("--hidden-width", shape.hidden_width) + number("--channels", options.trial.channels);
    if (options.residual) line += " --residual";
  }
  return line + " --dtype " + options.dtype + number("--draws", options.trial.draws) +
         number("--seed", options.trial.seed);
}

ExitStatus run_equivariance(const EquivarianceOptions& options) {
  const std::unique_ptr<LayerGroup> group = group_of(options);
  LayerCommand layer({options.command, *parse_dtype(options.dtype), options.timeout});
  EquivarianceReport report{group->describe(), replay(options), options.trial, {}, 0};
  report.options.invariant = options.invariant;
  report.finding = try_layer(*group, layer, report.options);
  report.calls = layer.calls();
  options.as_json ? print_json(report, *group) : print_text(report, *group);
  return report.status();
}

constexpr const char* footer =
    "The command is called with two safetensors files: it reads {in} and writes {out}. The first axis of "
    "every\n"
    "tensor counts checkpoints: weights w and g w, side by side. Tensors, with n checkpoints and d "
    "channels:\n"
    "  block      Q, K [n,d,h,D,Dk]  V [n,d,h,D,Dv]  O [n,d,h,Dv,D]  A [n,d,D,DA]  B [n,d,DA,D]  bA [n,d,DA] "
    " bB [n,d,D]\n"
    "  attention  query [n,h,D,Dk]  key [n,g,D,Dk]  value [n,g,D,Dv]  output [n,h,Dv,D]  query_bias "
    "[n,h,Dk]\n"
    "             key_bias [n,g,Dk]  value_bias [n,g,Dv]  output_bias [n,D]\n"
    "An equivariant layer returns the same tensors, with any number of channels; an invariant one any "
    "tensors with\n"
    "n first. Errors are judged at the precision of the dtype that comes back: relative to the output 1e-12 "
    "passes\n"
    "for F64, 1e-4 for F32.\n"
    "Exit status: 0 it commutes, 1 it breaks a generator, 2 trouble (no answer, NaN, a wrong shape), 3 "
    "undecided.";

void add_shape_options(CLI::App& command, EquivarianceOptions& options) {
  const auto add = [&](const char* name, Index& value, const char* what) {
    command.add_option(name, value, what)->type_name("N")->check(CLI::Range(1, 4096))->capture_default_str();
  };
  command.add_option("--group", options.group, "What a checkpoint is: a block, or its attention alone")
      ->check(CLI::IsMember({"block", "attention"}))
      ->capture_default_str();
  add("--width", options.shape.model_width, "D, the width of the model");
  add("--heads", options.shape.heads, "h");
  add("--key-width", options.shape.key_width, "Dk");
  add("--value-width", options.shape.value_width, "Dv");
  add("--hidden-width", options.shape.hidden_width, "DA, hidden units of a block");
  add("--channels", options.trial.channels, "d, channels of a block");
  command.add_flag("--residual", options.residual, "Blocks with residual connection: without P_D");
  command.add_option("--kv-groups", options.kv_groups, "g, key/value groups of attention; by default h")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  command.add_option("--biases", options.biases, "Biases of attention: query, key, value, output")
      ->delimiter(',')
      ->type_name("NAME,...")
      ->check(CLI::IsMember({"query", "key", "value", "output"}));
}

void add_trial_options(CLI::App& command, EquivarianceOptions& options) {
  command.add_option("--draws", options.trial.draws, "Random weights and elements per generator")
      ->type_name("N")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command.add_option("--seed", options.trial.seed, "Seed of the draws")
      ->type_name("N")
      ->check(seeds())
      ->capture_default_str();
  command.add_option("--only", options.trial.only, "Test this generator alone")->type_name("GENERATOR");
  command.add_option("--dtype", options.dtype, "Of what the command reads: F64 or F32")
      ->check(CLI::IsMember({"F64", "F32"}))
      ->capture_default_str();
  command.add_option("--batch", options.trial.batch, "Checkpoints in one call, at most")
      ->type_name("N")
      ->check(CLI::Range(3, 1000000))
      ->capture_default_str();
  command
      .add_option("--shrink-calls", options.trial.shrink_calls,
                  "Calls for making a failure smaller, per generator")
      ->type_name("N")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  command.add_option("--timeout", options.timeout, "Seconds for one call")
      ->type_name("S")
      ->check(numbers_between(0.01, 1e6))
      ->capture_default_str();
}

}  // namespace

void setup_equivariance(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<EquivarianceOptions>();
  CLI::App* command = app.add_subcommand(
      "equivariance",
      "Does a layer on weights, in any language, commute with the symmetries, and if not, with which?");
  command->add_option("--command", options->command, "Runs the layer: 'python3 layer.py {in} {out}'")
      ->type_name("CMD")
      ->required();
  CLI::Option* equivariant = command->add_flag("--equivariant", options->equivariant,
                                               "The output is weights and moves along; the default");
  command->add_flag("--invariant", options->invariant, "The output is to stay as it is")
      ->excludes(equivariant);
  add_shape_options(*command, *options);
  add_trial_options(*command, *options);
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->footer(footer);
  command->callback([options, &status] { status = run_equivariance(*options); });
}

}  // namespace attnsym
