#include <cstdio>
#include <nlohmann/json.hpp>

#include "symmetry/symmetry_group.hpp"
#include "tools/commands.hpp"
#include "tools/model.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

struct ExplainOptions {
  std::filesystem::path model;
  std::optional<std::filesystem::path> config;
  bool as_json = false;
};

std::string bias_text(const AttentionConfig& config) {
  std::string text;
  if (config.query_bias) text += " query";
  if (config.key_bias) text += " key";
  if (config.value_bias) text += " value";
  if (config.output_bias) text += " output";
  return text.empty() ? " none" : text;
}

// Why the group is what it is, one reason a line.
std::vector<std::string> reasons(const AttentionConfig& config) {
  std::vector<std::string> lines;
  lines.push_back("heads: the sum over heads does not see their order");
  lines.push_back("Q-K: only Q K^T is seen, so Q A^-1 and K A^T serve as well, A in GL(" +
                  std::to_string(config.key_width) + ")");
  lines.push_back("V-O: only V O is seen, so V C^T and C^-T O serve as well, C in GL(" +
                  std::to_string(config.value_width) + ")");
  lines.push_back("positions: added to the stream before attention, so they restrict nothing");
  if (config.key_bias)
    lines.push_back("key bias: adds the same number to all logits of a query, which softmax ignores");
  if (config.value_bias && config.output_bias) {
    lines.push_back(
        "value bias: attention weights sum to one, so it adds a constant that the output bias can take over");
  }
  return lines;
}

void print_text(const Model& model, const AttentionConfig& config) {
  const SymmetryGroup group = symmetry_of(config);
  const ModelConfig& facts = model.checkpoint.config();
  std::printf("family      %s, %zu attention layers\n", facts.model_type.c_str(), model.layers());
  std::printf("attention   D %td, %td heads in %td groups, key width %td, value width %td, scale %s, %s\n",
              config.model_width, config.heads, config.groups, config.key_width, config.value_width,
              brief(config.scale).c_str(), config.causal ? "causal" : "no mask");
  std::printf("biases     %s\n", bias_text(config).c_str());
  std::printf("group       %s\n", group.describe().c_str());
  std::printf(
      "dimension   %td of %td attention parameters per layer are redundant (%s %%)\n\n", group.dimension(),
      config.parameter_count(),
      brief(100.0 * static_cast<double>(group.dimension()) / static_cast<double>(config.parameter_count()))
          .c_str());
  std::printf("why\n");
  for (const std::string& line : reasons(config)) std::printf("  %s\n", line.c_str());
}

void print_json(const Model& model, const AttentionConfig& config) {
  const SymmetryGroup group = symmetry_of(config);
  const nlohmann::json object{{"schema", "attnsym.explain/1"},
                              {"family", model.checkpoint.config().model_type},
                              {"layers", model.layers()},
                              {"model_width", config.model_width},
                              {"heads", config.heads},
                              {"groups", config.groups},
                              {"key_width", config.key_width},
                              {"value_width", config.value_width},
                              {"scale", config.scale},
                              {"causal", config.causal},
                              {"group", group.describe()},
                              {"dimension", group.dimension()},
                              {"parameters", config.parameter_count()},
                              {"why", reasons(config)}};
  std::printf("%s\n", object.dump(2).c_str());
}

ExitStatus run_explain(const ExplainOptions& options) {
  const Model model = open_model(options.model, options.config);
  const AttentionConfig config = attention_config(model.checkpoint, 0);
  options.as_json ? print_json(model, config) : print_text(model, config);
  return ExitStatus::yes;
}

}  // namespace

void setup_explain(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* command =
      app.add_subcommand("explain", "The architecture as understood, its symmetry group, dimension, and why");
  command->add_option("MODEL", options->model, "A model")->required();
  add_config_option(*command, options->config);
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->callback([options, &status] { status = run_explain(*options); });
}

}  // namespace attnsym
