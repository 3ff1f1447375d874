#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <stdexcept>

#include "checkpoint/checkpoint_model.hpp"
#include "checkpoint/printable.hpp"
#include "symmetry/transformer_group.hpp"
#include "tools/commands.hpp"
#include "tools/measurement.hpp"
#include "tools/model.hpp"
#include "tools/output.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

struct ExplainOptions {
  std::filesystem::path model;
  ModelFiles files;
  bool measure = false;
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

std::string numbered(Index count, const char* what) { return std::to_string(count) + " " + what; }

// Scores, and what positions do to them.
std::string positions_text(const AttentionConfig& config) {
  std::string text = config.causal ? "causal" : "no mask";
  if (config.window > 0) text += ", window " + std::to_string(config.window);
  if (config.rotary.pairs() > 0)
    text += ", rotary positions in " + std::to_string(2 * config.rotary.pairs()) + " of " +
            numbered(config.key_width, "coordinates");
  if (config.rotary.beyond)
    text += ", others in sequences of more than " + numbered(config.rotary.beyond->length, "tokens");
  if (!config.slopes.empty()) text += ", ALiBi slopes";
  if (config.softcap > 0) text += ", softcap " + brief(config.softcap);
  if (config.qk_norm)
    text += ", norms of queries and keys" +
            std::string(config.qk_norm->over_all_heads ? " over all heads" : "") + " (epsilon " +
            brief(config.qk_norm->epsilon) + ")";
  return text;
}

std::vector<std::string> position_reasons(const AttentionConfig& config) {
  std::vector<std::string> lines;
  if (config.rotary.pairs() > 0 && config.qk_norm) {
    lines.push_back(
        "positions: turn every pair of coordinates by its own frequency, so that places change inside a "
        "frequency only, gains stretch by pairs, and a pair may turn by a quarter if its gains change "
        "places");
  } else if (config.rotary.pairs() > 0) {
    lines.push_back(
        "positions: turn every pair of coordinates by its own frequency, so that only what commutes with all "
        "turns is "
        "left: a complex number for every pair, a real matrix for what is not turned");
  } else if (!config.slopes.empty()) {
    lines.push_back(
        "positions: ALiBi adds a multiple of the distance to all logits of a head, so heads keep their "
        "slopes");
  } else {
    lines.push_back("positions: added to the stream before attention, so they restrict nothing");
  }
  return lines;
}

std::vector<std::string> bias_reasons(const AttentionConfig& config) {
  std::vector<std::string> lines;
  if (config.key_bias && config.qk_norm) {
    lines.push_back("key bias: is normalised with its key, so it is not free");
  } else if (config.key_bias && config.softcap > 0) {
    lines.push_back("key bias: adds to all logits of a query alike, but the softcap sees that");
  } else if (config.key_bias && key_bias_counts(config)) {
    lines.push_back(
        "key bias: is turned with its key, so it is free only in coordinates that are not turned");
  } else if (config.key_bias) {
    lines.push_back("key bias: adds the same number to all logits of a query, which softmax ignores");
  }
  if (value_bias_is_free(config)) {
    lines.push_back(
        "value bias: attention weights sum to one, so it adds a constant that the output bias can take over");
  }
  return lines;
}

std::string qk_reason(const AttentionConfig& config) {
  const std::string commutes = config.rotary.pairs() > 0 ? " if it commutes with positions" : "";
  if (config.qk_norm && config.qk_norm->gains == QkGains::Temperature)
    return "Q-K: norms leave only what changes no length, Q U and K U with U orthogonal" + commutes;
  if (config.qk_norm) {
    const bool shared = config.qk_norm->gains == QkGains::Shared;
    return "Q-K: norms leave only what changes no length, signs and places of coordinates" + commutes +
           ", and gains of " +
           (shared ? "all queries times t with those of all keys"
                   : "a group's queries "
                     "times t with those of its keys") +
           " over t; a rotation stays where products of gains are equal";
  }
  return "Q-K: only Q K^T is seen, so Q A^-1 and K A^T serve as well, A in GL(" +
         std::to_string(config.key_width) + ")" + commutes;
}

// Why the group is what it is, one reason a line.
std::vector<std::string> reasons(const AttentionConfig& config) {
  std::vector<std::string> lines;
  lines.push_back(
      config.readers_per_group() > 1
          ? "heads: the sum over heads does not see their order, but readers stay with their group"
          : "heads: the sum over heads does not see their order");
  lines.push_back(qk_reason(config));
  lines.push_back("V-O: only V O is seen, so V C^T and C^-T O serve as well, C in GL(" +
                  std::to_string(config.value_width) + ")");
  for (const auto& more : {position_reasons(config), bias_reasons(config)})
    lines.insert(lines.end(), more.begin(), more.end());
  return lines;
}

void print_measurement(const Measurement& measurement) {
  std::printf("measured    %s\n", measurement.text().c_str());
  if (!measurement.agrees())
    std::printf(
        "no          measured and predicted differ: the group is not what this program takes it for\n");
}

std::size_t windowed_layers(const Model& model) {
  std::size_t count = 0;
  for (std::size_t layer = 0; layer < model.layers(); ++layer)
    count += attention_config(model.checkpoint, static_cast<Index>(layer)).window > 0 ? 1 : 0;
  return count;
}

std::string format_of(const Model& model) {
  const ForeignModel* foreign = model.checkpoint.foreign();
  return foreign ? foreign->format : "safetensors";
}

// The dtypes of all layers' attention, each once.
std::vector<std::string> attention_dtypes(const Model& model) {
  std::set<std::string> names;
  for (std::size_t layer = 0; layer < model.layers(); ++layer) {
    for (const StoredTensor& tensor : stored_attention_tensors(model.checkpoint, static_cast<Index>(layer)))
      names.emplace(name_of(tensor.info->dtype));
  }
  return {names.begin(), names.end()};
}

bool stores_interleaved(const Model& model) {
  const PositionKeys& positions = model.checkpoint.layout().positions;
  return positions.kind == PositionKeys::Kind::Rotary && positions.pairs == PairLayout::Interleaved;
}

// What is known of the model beyond its attention.
struct WholeModel {
  std::optional<TransformerGroup> group;
  std::string reason;  // why nothing is
};

WholeModel whole_model(const Model& model) {
  try {
    return {TransformerGroup(CheckpointModel(model.checkpoint).config()), ""};
  } catch (const std::runtime_error& error) {
    return {std::nullopt, error.what()};
  }
}

std::string share_text(Index dimension, Index parameters) {
  return std::to_string(dimension) + " of " + std::to_string(parameters) + " parameters are redundant (" +
         brief(100.0 * static_cast<double>(dimension) / static_cast<double>(parameters)) + " %)";
}

void print_whole(const WholeModel& whole) {
  if (!whole.group) {
    std::printf("\nwhole model is not understood: %s\n", whole.reason.c_str());
    return;
  }
  std::printf("\nwhole model %s\n", whole.group->describe().c_str());
  std::printf("dimension   %s\n",
              share_text(whole.group->dimension(), whole.group->config().parameter_count()).c_str());
}

nlohmann::json whole_json(const WholeModel& whole) {
  if (!whole.group) return {{"reason", whole.reason}};
  return {{"group", whole.group->describe()},
          {"dimension", whole.group->dimension()},
          {"parameters", whole.group->config().parameter_count()}};
}

void print_text(const Model& model, const AttentionConfig& config,
                const std::optional<Measurement>& measurement) {
  const SymmetryGroup group = symmetry_of(config);
  const ModelConfig& facts = model.checkpoint.config();
  // All that may fail comes before the first word.
  const std::string dtypes = joined(attention_dtypes(model), ", ");
  const std::size_t windowed = windowed_layers(model);
  const WholeModel whole = whole_model(model);
  std::printf("family      %s, %zu attention layers\n", printable(facts.model_type).c_str(), model.layers());
  std::printf("stored      %s, attention in %s%s\n", format_of(model).c_str(), dtypes.c_str(),
              stores_interleaved(model) ? "; rotary pairs are interleaved, and read as half-split" : "");
  std::printf("attention   D %td, %td heads in %td groups, key width %td, value width %td, scale %s, %s\n",
              config.model_width, config.heads, config.groups, config.key_width, config.value_width,
              brief(config.scale).c_str(), positions_text(config).c_str());
  if (windowed > 0 && windowed < model.layers())
    std::printf("window      in %zu of %zu layers; layer 0 is shown\n", windowed, model.layers());
  std::printf("biases     %s\n", bias_text(config).c_str());
  std::printf("group       %s\n", group.describe().c_str());
  std::printf(
      "dimension   %td of %td attention parameters per layer are redundant (%s %%)\n", group.dimension(),
      config.parameter_count(),
      brief(100.0 * static_cast<double>(group.dimension()) / static_cast<double>(config.parameter_count()))
          .c_str());
  if (measurement) print_measurement(*measurement);
  std::printf("\nwhy\n");
  for (const std::string& line : reasons(config)) std::printf("  %s\n", line.c_str());
  print_whole(whole);
}

void print_json(const Model& model, const AttentionConfig& config,
                const std::optional<Measurement>& measurement) {
  const SymmetryGroup group = symmetry_of(config);
  nlohmann::json object{{"schema", "attnsym.explain/1"},
                        {"family", model.checkpoint.config().model_type},
                        {"layers", model.layers()},
                        {"format", format_of(model)},
                        {"attention_dtypes", attention_dtypes(model)},
                        {"interleaved_pairs", stores_interleaved(model)},
                        {"model_width", config.model_width},
                        {"heads", config.heads},
                        {"groups", config.groups},
                        {"key_width", config.key_width},
                        {"value_width", config.value_width},
                        {"scale", config.scale},
                        {"causal", config.causal},
                        {"window", config.window},
                        {"windowed_layers", windowed_layers(model)},
                        {"rotary_pairs", config.rotary.pairs()},
                        {"alibi", !config.slopes.empty()},
                        {"softcap", config.softcap},
                        {"qk_norm", config.qk_norm.has_value()},
                        {"group", group.describe()},
                        {"dimension", group.dimension()},
                        {"parameters", config.parameter_count()},
                        {"why", reasons(config)},
                        {"whole_model", whole_json(whole_model(model))}};
  if (measurement) object["measured"] = measurement->json();
  print_object(object);
}

ExitStatus run_explain(const ExplainOptions& options) {
  const Model model = open_model(options.model, options.files);
  const AttentionConfig config = attention_config(model.checkpoint, 0);
  std::optional<Measurement> measurement;
  if (options.measure) measurement = measure_module_like(config);
  options.as_json ? print_json(model, config, measurement) : print_text(model, config, measurement);
  return measurement && !measurement->agrees() ? ExitStatus::no : ExitStatus::yes;
}

}  // namespace

void setup_explain(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<ExplainOptions>();
  CLI::App* command =
      app.add_subcommand("explain", "The architecture as understood, its symmetry group, dimension, and why");
  command->add_option("MODEL", options->model, "A model")->required();
  add_file_options(*command, options->files);
  command->add_flag("--measure", options->measure,
                    "Also count, by derivatives, the directions that leave the function of a tiny module of "
                    "the same kind unchanged, and name the smallest singular value that is seen and the "
                    "largest that is not, relative to the largest of all");
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->footer(
      "Exit status: 0 done, 1 the measured dimension is not the predicted one (with --measure), 2 trouble.");
  command->callback([options, &status] { status = run_explain(*options); });
}

}  // namespace attnsym
