#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "symmetry/errors.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tools/commands.hpp"
#include "tools/evidence_file.hpp"
#include "tools/executor.hpp"
#include "tools/model.hpp"
#include "tools/output.hpp"
#include "verify/decide.hpp"

namespace attnsym {
namespace {

using nlohmann::json;
using Path = std::filesystem::path;

struct CheckOptions {
  Path a;
  Path b;
  std::optional<Path> config;
  std::optional<Path> certificate;
  std::optional<Path> witness;
  std::string scope = "attention";
  DecideOptions decide;
  std::size_t threads = default_workers();
  bool force = false;
  bool as_json = false;
};

// All layers' decisions and what follows from them.
struct CheckResult {
  std::vector<Decision> layers;
  std::size_t worst_layer = 0;
  std::string verdict;
  std::string reason;
  std::string group;
  std::size_t bytes_read = 0;
  double seconds = 0;
  std::optional<std::string> certificate;
  std::optional<std::string> witness_file;

  const Decision& worst() const { return layers[worst_layer]; }
};

template <class Kind>
bool any_is(const std::vector<Decision>& layers) {
  return std::any_of(layers.begin(), layers.end(),
                     [](const Decision& layer) { return std::holds_alternative<Kind>(layer.verdict); });
}

// The layer that decides the answer: the strongest witness if there is one, else the largest ratio.
std::size_t worst_of(const std::vector<Decision>& layers) {
  const auto weight = [](const Decision& layer) {
    const auto* distinct = std::get_if<Distinct>(&layer.verdict);
    const bool undecided = std::holds_alternative<Undecided>(layer.verdict);
    const double class_weight = distinct != nullptr ? 2 : (undecided ? 1 : 0);
    const double ratio =
        distinct != nullptr ? distinct->witness.gap / distinct->witness.noise : layer.rounding_ratio();
    return std::pair(class_weight, ratio);
  };
  const auto worst =
      std::max_element(layers.begin(), layers.end(),
                       [&](const Decision& x, const Decision& y) { return weight(x) < weight(y); });
  return static_cast<std::size_t>(worst - layers.begin());
}

void conclude(CheckResult& result) {
  result.worst_layer = worst_of(result.layers);
  const std::string place = "layer " + std::to_string(result.worst_layer);
  if (any_is<Distinct>(result.layers)) {
    const Witness& witness = std::get<Distinct>(result.worst().verdict).witness;
    result.verdict = "distinct";
    result.reason = place + ": " + describe_difference(result.worst()) + "; an input of " +
                    std::to_string(witness.input.rows()) + " tokens gives outputs " + brief(witness.gap) +
                    " apart, where rounding explains " + brief(witness.noise);
  } else if (any_is<Undecided>(result.layers)) {
    result.verdict = "undecided";
    result.reason = place + ": " + std::get<Undecided>(result.worst().verdict).reason;
  } else if (any_is<Equivalent>(result.layers)) {
    result.verdict = "equivalent";
    result.reason = "every circuit of every head agrees within the rounding of the stored weights";
  } else {
    result.verdict = "identical";
    result.reason = "the weights are equal under permutations, signs and powers of two";
  }
}

CheckResult decide_layers(const CheckOptions& options, const Model& a, const Model& b) {
  if (a.layers() != b.layers()) {
    throw ShapeError(options.a.string() + " has " + std::to_string(a.layers()) + " attention layers, " +
                     options.b.string() + " has " + std::to_string(b.layers()));
  }
  CheckResult result;
  result.layers.resize(a.layers());
  result.group = symmetry_of(attention_config(a.checkpoint, 0)).describe();
  result.bytes_read = a.attention_bytes() + b.attention_bytes();
  Progress progress("check", a.layers());
  run_tasks(a.layers(), options.threads, [&](std::size_t layer) {
    const auto index = static_cast<Index>(layer);
    DecideOptions decide = options.decide;
    const auto radius_a = input_radius(a.checkpoint, index);
    const auto radius_b = input_radius(b.checkpoint, index);
    if (radius_a && radius_b) decide.input_radius = std::max(*radius_a, *radius_b);
    result.layers[layer] =
        decide_equivalence(read_attention(a.checkpoint, index), read_attention(b.checkpoint, index), decide);
    progress.advance();
  });
  conclude(result);
  return result;
}

AttentionElement<double> element_of(const Verdict& verdict) {
  if (const auto* identical = std::get_if<Identical>(&verdict)) return identical->b_from_a;
  return std::get<Equivalent>(verdict).b_from_a;
}

void write_certificate(const CheckOptions& options, const Model& a, const Model& b, CheckResult& result) {
  CertificateFile file;
  file.verdict = result.verdict;
  file.seed = options.decide.seed;
  file.a_files = a.digests();
  file.b_files = b.digests();
  if (result.verdict == "distinct") {
    file.witness_layer = result.worst_layer;
    file.witness_input = std::get<Distinct>(result.worst().verdict).witness.input;
  } else {
    for (const Decision& layer : result.layers) file.b_from_a.push_back(element_of(layer.verdict));
  }
  write_evidence(*options.certificate, serialize(file), options.force);
  result.certificate = options.certificate->string();
}

void write_files(const CheckOptions& options, const Model& a, const Model& b, CheckResult& result) {
  if (options.certificate) {
    if (result.verdict == "undecided") {
      std::fprintf(stderr, "attnsym: no certificate is written for an undecided answer\n");
    } else {
      write_certificate(options, a, b, result);
    }
  }
  if (options.witness) {
    if (result.verdict == "distinct") {
      const Witness& witness = std::get<Distinct>(result.worst().verdict).witness;
      write_evidence(*options.witness, serialize(witness, result.worst_layer), options.force);
      result.witness_file = options.witness->string();
    } else {
      std::fprintf(stderr, "attnsym: no witness is written for %s modules\n", result.verdict.c_str());
    }
  }
}

json optional_number(const std::optional<double>& value) { return value ? json(*value) : json(); }
json optional_text(const std::optional<std::string>& value) { return value ? json(*value) : json(); }

json head_json(const HeadComparison& head) {
  return {{"head", head.head},
          {"image", head.image},
          {"qk_ratio", head.qk.ratio},
          {"vo_ratio", head.vo.ratio},
          {"largest_row_ratio", std::max(head.qk.largest_row_ratio, head.vo.largest_row_ratio)},
          {"largest_column_ratio", std::max(head.qk.largest_column_ratio, head.vo.largest_column_ratio)},
          {"resolution", head.resolution()}};
}

json layer_json(std::size_t layer, const Decision& decision) {
  json heads = json::array();
  json image = json::array();
  for (const HeadComparison& head : decision.heads) {
    heads.push_back(head_json(head));
    image.push_back(head.image);
  }
  return {{"layer", layer},
          {"module", "attention"},
          {"verdict", name_of(decision.verdict)},
          {"head_image", image},
          {"rounding_ratio", decision.rounding_ratio()},
          {"constant_ratio", decision.constant.ratio},
          {"resolution", decision.resolution()},
          {"gauge_condition", optional_number(decision.gauge_condition)},
          {"output_bound", optional_number(decision.output_bound)},
          {"heads", heads}};
}

json witness_json(const CheckResult& result) {
  const auto* distinct = std::get_if<Distinct>(&result.worst().verdict);
  if (distinct == nullptr) return nullptr;
  return {{"file", optional_text(result.witness_file)},
          {"layer", result.worst_layer},
          {"gap", distinct->witness.gap},
          {"noise", distinct->witness.noise}};
}

void print_json(const CheckOptions& options, const CheckResult& result) {
  json layers = json::array();
  for (std::size_t i = 0; i < result.layers.size(); ++i) layers.push_back(layer_json(i, result.layers[i]));
  const Decision& worst = result.worst();
  const double worst_ratio = worst.heads.empty() ? 0 : worst.heads[worst.worst_head].largest_ratio();
  const json object{
      {"schema", "attnsym.check/1"},
      {"verdict", result.verdict},
      {"reason", result.reason},
      {"group", result.group},
      {"scope", options.scope},
      {"seed", options.decide.seed},
      {"layers", layers},
      {"worst", {{"layer", result.worst_layer}, {"head", worst.worst_head}, {"rounding_ratio", worst_ratio}}},
      {"witness", witness_json(result)},
      {"certificate", optional_text(result.certificate)},
      {"bytes_read", result.bytes_read},
      {"seconds", result.seconds}};
  std::printf("%s\n", object.dump(2).c_str());
}

std::string image_text(const Decision& decision) {
  std::string text;
  for (const HeadComparison& head : decision.heads)
    text += (text.empty() ? "" : " ") + std::to_string(head.image);
  return text.empty() ? "-" : text;
}

std::string brief_or_unknown(const std::optional<double>& value) { return value ? brief(*value) : "unknown"; }

void print_text(const CheckOptions& options, const CheckResult& result) {
  std::printf("%s: %s\n\n", result.verdict.c_str(), result.reason.c_str());
  std::printf("scope  attention only; embeddings, norms and MLPs are not compared\n");
  std::printf("group  %s\n", result.group.c_str());
  std::printf("seed   %llu\n\n", static_cast<unsigned long long>(options.decide.seed));
  std::size_t width = 10;
  for (const Decision& layer : result.layers) width = std::max(width, image_text(layer).size());
  std::printf("layer  verdict     %-*s  ratio     resolution  condition  output bound\n",
              static_cast<int>(width), "heads of B");
  for (std::size_t i = 0; i < result.layers.size(); ++i) {
    const Decision& layer = result.layers[i];
    std::printf("%-5zu  %-10s  %-*s  %-8s  %-10s  %-9s  %s\n", i, name_of(layer.verdict),
                static_cast<int>(width), image_text(layer).c_str(), brief(layer.rounding_ratio()).c_str(),
                brief(layer.resolution()).c_str(), brief_or_unknown(layer.gauge_condition).c_str(),
                brief_or_unknown(layer.output_bound).c_str());
  }
  if (result.certificate) std::printf("\ncertificate  %s\n", result.certificate->c_str());
  if (result.witness_file) std::printf("\nwitness  %s\n", result.witness_file->c_str());
}

ExitStatus status_of(const std::string& verdict) {
  if (verdict == "distinct") return ExitStatus::no;
  if (verdict == "undecided") return ExitStatus::undecided;
  return ExitStatus::yes;
}

void require_places(const CheckOptions& options) {
  std::vector<Path> read_only{options.a, options.b};
  if (options.config) read_only.push_back(*options.config);
  require_evidence_place(options.certificate, options.force, read_only);
  require_evidence_place(options.witness, options.force, read_only);
  if (options.certificate && options.witness &&
      options.certificate->lexically_normal() == options.witness->lexically_normal()) {
    throw IoError(options.witness->string() + ": cannot be both the certificate and the witness");
  }
}

ExitStatus run_check(const CheckOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  require_places(options);
  const Model a = open_model(options.a, options.config);
  const Model b = open_model(options.b, options.config);
  CheckResult result = decide_layers(options, a, b);
  write_files(options, a, b, result);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  options.as_json ? print_json(options, result) : print_text(options, result);
  return status_of(result.verdict);
}

}  // namespace

void setup_check(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = app.add_subcommand("check", "Do A and B compute the same attention, layer by layer?");
  command->add_option("A", options->a, "A model")->required();
  command->add_option("B", options->b, "Another model")->required();
  add_config_option(*command, options->config);
  command->add_option("--certificate", options->certificate, "Write the evidence here, for `attnsym certify`")
      ->type_name("FILE");
  command->add_option("--witness", options->witness, "Write the separating input here, if there is one")
      ->type_name("FILE");
  command->add_option("--scope", options->scope, "What is compared: attention")
      ->check(CLI::IsMember({"attention"}));
  command->add_option("--seed", options->decide.seed, "Seed of the witness search")
      ->type_name("N")
      ->capture_default_str();
  add_threads_option(*command, options->threads);
  command->add_flag("--force", options->force, "Replace existing certificate and witness files");
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->footer("Exit status: 0 identical or equivalent, 1 distinct, 2 trouble, 3 undecided.");
  command->callback([options, &status] { status = run_check(*options); });
}

}  // namespace attnsym
