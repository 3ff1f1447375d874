#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <numeric>
#include <random>
#include <tuple>
#include <utility>

#include "checkpoint/same_bytes.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tools/check_models.hpp"
#include "tools/check_report.hpp"
#include "tools/commands.hpp"
#include "tools/evidence_file.hpp"
#include "tools/executor.hpp"
#include "tools/model.hpp"
#include "tools/number_options.hpp"
#include "tools/output.hpp"
#include "tools/unread.hpp"
#include "verify/decide.hpp"
#include "verify/exact.hpp"

namespace attnsym {
namespace {

using Path = std::filesystem::path;

struct CheckOptions {
  Path a;
  Path b;
  ModelFiles files;
  std::optional<Path> certificate;
  std::optional<Path> witness;
  std::string scope = "attention";
  std::string outputs = "logits";
  std::optional<std::uint64_t> seed;
  bool exact = false;
  bool ladder = false;
  bool explain = false;
  std::size_t threads = default_workers();
  bool force = false;
  bool as_json = false;
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

// What the witness shows, in words.
std::string describe(const CheckResult& result, const Witness& witness) {
  const std::string outputs = "an input of " + std::to_string(witness.input.rows()) +
                              " tokens gives outputs " + brief(witness.gap) + " apart, ";
  if (result.error_probability) {
    return "the stored numbers compute different functions; " + outputs + "surely at least " +
           brief(witness.gap_at_least);
  }
  return describe_difference(result.worst()) + "; " + outputs + "where rounding explains " +
         brief(witness.noise) + "; all weights that round to these are at least " +
         brief(witness.apart_at_least) + " apart";
}

void conclude(CheckResult& result) {
  result.worst_layer = worst_of(result.layers);
  const std::string place = "layer " + std::to_string(result.worst_layer);
  if (any_is<Distinct>(result.layers)) {
    result.verdict = "distinct";
    result.reason = place + ": " + describe(result, std::get<Distinct>(result.worst().verdict).witness);
  } else if (any_is<Undecided>(result.layers)) {
    result.verdict = "undecided";
    result.reason = place + ": " + std::get<Undecided>(result.worst().verdict).reason;
  } else if (any_is<Equivalent>(result.layers)) {
    result.verdict = "equivalent";
    result.reason = result.error_probability
                        ? "the stored numbers compute the same function exactly"
                        : "every circuit of every head agrees within the rounding of the stored weights";
    if (result.as_decoded)
      result.reason = "every circuit of every head agrees within float32 rounding of the decoded numbers";
  } else {
    result.verdict = "identical";
    result.reason = "the weights are equal under permutations, signs and powers of two";
  }
}

std::optional<double> common_radius(const Model& a, const Model& b, Index layer) {
  const auto radius_a = input_radius(a.checkpoint, layer);
  const auto radius_b = input_radius(b.checkpoint, layer);
  if (!radius_a || !radius_b) return std::nullopt;
  return std::max(*radius_a, *radius_b);
}

// The primes of exact mode depend on the files, too; a seed that nobody knows spares them even many tries.
std::uint64_t seed_of(const CheckOptions& options) {
  if (options.seed) return *options.seed;
  if (!options.exact) return DecideOptions{}.seed;
  std::random_device device;
  return (std::uint64_t{device()} << 32U) | device();
}

// Exact mode has no parts to run at once.
ThreadPlan plan_for(const CheckOptions& options, const Model& a, const Model& b) {
  if (options.exact) return {options.threads, 1};
  return plan_attention(options.threads, a, b);
}

// Tasks that hold a layer each; they are counted under the label.
RunTasks layers_at_once(const CheckOptions& options, const Model& a, const Model& b,
                        const std::string& label) {
  return on_threads(plan_for(options, a, b).layers, std::make_shared<Progress>(label));
}

// Decides single layers of two models.
class LayerJudge {
 public:
  LayerJudge(const Model& a, const Model& b, std::uint64_t seed, RunTasks run_tasks)
      : a_(a),
        b_(b),
        same_(a.checkpoint, b.checkpoint),
        seed_(seed),
        run_tasks_(std::move(run_tasks)),
        is_quantized_(is_quantized(a, b)) {}

  ExactDecision decide_exactly(Index layer) const {
    const auto [a, b] = read(layer, Radii::Decoded);
    return attnsym::decide_exactly(a, b, seed_);
  }

  // What quantisation could hide does not matter if the decoded numbers agree by themselves. That these
  // differ proves nothing about the numbers that were quantised.
  // @return the decision, and whether it is about the decoded numbers
  std::pair<Decision, bool> decide(Index layer) const {
    if (same_.attention(layer)) return {decide_same(attention_config(a_.checkpoint, layer)), false};
    Decision decision = decide(layer, Radii::Quantized);
    if (!is_quantized_ || !std::holds_alternative<Undecided>(decision.verdict))
      return {std::move(decision), false};
    Decision decoded = decide(layer, Radii::Decoded);
    const bool settled = std::holds_alternative<Identical>(decoded.verdict) ||
                         std::holds_alternative<Equivalent>(decoded.verdict);
    return {settled ? std::move(decoded) : std::move(decision), settled};
  }

 private:
  std::array<StoredAttention, 2> read(Index layer, Radii radii) const {
    std::array<StoredAttention, 2> modules;
    run_tasks_(
        2, [&](std::size_t i) { modules[i] = read_attention((i == 0 ? a_ : b_).checkpoint, layer, radii); });
    return modules;
  }

  Decision decide(Index layer, Radii radii) const {
    std::array<StoredAttention, 2> modules = read(layer, radii);
    DecideOptions options;
    options.seed = seed_;
    options.input_radius = common_radius(a_, b_, layer);
    options.run_tasks = run_tasks_;
    return decide_equivalence(std::move(modules[0]), std::move(modules[1]), options);
  }

  const Model& a_;
  const Model& b_;
  SameBytes same_;
  std::uint64_t seed_;
  RunTasks run_tasks_;
  bool is_quantized_;
};

// Why attention of two models cannot be the same, layer by layer, whatever the weights; empty if it can.
std::string different_shape(const Model& a, const Model& b) {
  const auto differ = [](const char* what, std::size_t of_a, std::size_t of_b) {
    return "A has " + std::to_string(of_a) + " " + what + ", B has " + std::to_string(of_b);
  };
  if (a.layers() != b.layers()) return differ("attention layers", a.layers(), b.layers());
  const auto width = [](const Model& model) {
    return static_cast<std::size_t>(model.checkpoint.config().hidden_size);
  };
  if (width(a) != width(b)) return differ("numbers per token", width(a), width(b));
  return "";
}

CheckResult decide_layers(const CheckOptions& options, const Model& a, const Model& b) {
  CheckResult result;
  result.scope = options.scope;
  if (const std::string different = different_shape(a, b); !different.empty()) {
    result.verdict = "distinct";
    result.reason = different;
    result.seed = seed_of(options);
    return result;
  }
  result.seed = seed_of(options);
  result.layers.resize(a.layers());
  result.group = symmetry_of(attention_config(a.checkpoint, 0)).describe();
  result.bytes_read = a.attention_bytes() + b.attention_bytes();
  std::vector<double> error_probability(a.layers(), 0);
  std::vector<char> as_decoded(a.layers(), 0);  // not vector<bool>: threads write neighbouring entries
  const LayerJudge judge(a, b, result.seed, on_threads(plan_for(options, a, b).inside));
  layers_at_once(options, a, b, "check")(a.layers(), [&](std::size_t layer) {
    const auto index = static_cast<Index>(layer);
    if (options.exact) {
      const ExactDecision exact = judge.decide_exactly(index);
      result.layers[layer].verdict = exact.verdict;
      error_probability[layer] = exact.error_probability;
    } else {
      std::tie(result.layers[layer], as_decoded[layer]) = judge.decide(index);
    }
  });
  result.as_decoded = std::count(as_decoded.begin(), as_decoded.end(), 1) > 0;
  if (options.exact)
    result.error_probability = std::accumulate(error_probability.begin(), error_probability.end(), 0.0);
  conclude(result);
  return result;
}

EqualityEvidence evidence_of(const Verdict& verdict) {
  if (const auto* identical = std::get_if<Identical>(&verdict)) return identical->b_from_a;
  return std::get<Equivalent>(verdict).evidence;
}

void write_certificate(const CheckOptions& options, const Model& a, const Model& b, CheckResult& result) {
  CertificateFile file;
  file.verdict = result.verdict;
  file.seed = result.seed;
  file.exact = options.exact;
  file.a_files = a.digests();
  file.b_files = b.digests();
  if (result.verdict == "distinct") {
    file.witness_layer = result.worst_layer;
    file.witness_input = std::get<Distinct>(result.worst().verdict).witness.input;
  } else {
    for (const Decision& layer : result.layers) file.layers.push_back(evidence_of(layer.verdict));
  }
  write_evidence(*options.certificate, serialize(file), options.force);
  result.certificate = options.certificate->string();
}

void write_files(const CheckOptions& options, const Model& a, const Model& b, CheckResult& result) {
  if (result.layers.empty()) {
    if (options.certificate || options.witness)
      std::fprintf(stderr, "attnsym: nothing is written: shapes alone tell these models apart\n");
    return;
  }
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

ExitStatus status_of(const std::string& verdict) {
  if (verdict == "distinct") return ExitStatus::no;
  if (verdict == "undecided") return ExitStatus::undecided;
  return ExitStatus::yes;
}

void require_places(const CheckOptions& options) {
  std::vector<Path> read_only{options.a, options.b};
  for (const Path& path : options.files.paths()) read_only.push_back(path);
  require_evidence_place(options.certificate, options.force, read_only);
  require_evidence_place(options.witness, options.force, read_only);
  if (options.certificate && options.witness &&
      options.certificate->lexically_normal() == options.witness->lexically_normal()) {
    throw IoError(options.witness->string() + ": cannot be both the certificate and the witness");
  }
}

// Windows that no input reaches are left out if that makes the models one; that they differ otherwise is
// shown with all of them.
CheckResult decide_all(const CheckOptions& options, Model& a, Model& b) {
  if (const auto limit = leave_out_unreached_windows(a, b)) {
    CheckResult result = decide_layers(options, a, b);
    if (result.verdict == "identical" || result.verdict == "equivalent") {
      result.reason += "; " + *limit;
      return result;
    }
    take_all_windows(a, b);
  }
  return decide_layers(options, a, b);
}

ExitStatus run_check(const CheckOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  require_places(options);
  Model a = open_model(options.a, options.files);
  Model b = open_model(options.b, options.files);
  if (options.scope == "model") {
    return check_models(a, b,
                        {outputs_of(options.outputs), options.seed.value_or(1), options.threads,
                         options.certificate, options.force, options.explain, options.as_json});
  }
  CheckResult result = decide_all(options, a, b);
  result.unread = unread_tensors(Unread::ByFamily, {&a, &b});
  if (options.ladder && !result.layers.empty()) {
    const auto layer = static_cast<Index>(result.worst_layer);
    result.ladder =
        precision_ladder(read_attention(a.checkpoint, layer), read_attention(b.checkpoint, layer));
  }
  if (options.explain && !result.layers.empty())
    result.explanation = explain_differences(a, b, result.layers, layers_at_once(options, a, b, "explain"));
  require_unchanged(a, b);
  write_files(options, a, b, result);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  options.as_json ? print_json(result) : print_text(result);
  return status_of(result.verdict);
}

// What speaks about single modules cannot be asked of whole models.
void refuse_at_model_scope(const CLI::App& command, const CheckOptions& options) {
  if (options.scope != "model") {
    if (command.count("--outputs") > 0) throw CLI::ValidationError("--outputs needs --scope model");
    return;
  }
  for (const char* option : {"--witness", "--exact", "--ladder"}) {
    if (command.count(option) > 0)
      throw CLI::ValidationError(std::string(option) + " is about attention modules, not --scope model");
  }
}

}  // namespace

void setup_check(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* command = app.add_subcommand(
      "check", "Do A and B compute the same attention, layer by layer, or as whole models the same outputs?");
  command->add_option("A", options->a, "A model")->required();
  command->add_option("B", options->b, "Another model")->required();
  add_file_options(*command, options->files);
  command->add_option("--certificate", options->certificate, "Write the evidence here, for `attnsym certify`")
      ->type_name("FILE");
  command->add_option("--witness", options->witness, "Write the separating input here, if there is one")
      ->type_name("FILE");
  command
      ->add_option("--scope", options->scope,
                   "What is compared: attention, module by module, or the whole model")
      ->check(CLI::IsMember({"attention", "model"}))
      ->capture_default_str();
  command
      ->add_option(
          "--outputs", options->outputs,
          "What counts of a whole model: logits, or probabilities, which forget what all logits of a "
          "token have in common")
      ->check(CLI::IsMember({"logits", "probabilities"}))
      ->capture_default_str();
  CLI::Option* exact = command->add_flag(
      "--exact", options->exact, "Decide about the stored numbers themselves: nothing counts as rounding");
  command
      ->add_flag(
          "--explain", options->explain,
          "Where layers or models differ, name the slip of a conversion that made them so, or what the "
          "difference looks like")
      ->excludes(exact);
  command->add_flag("--ladder", options->ladder,
                    "Also evaluate the deciding layer at float, double, 50 and 100 digits (takes seconds)");
  command
      ->add_option("--seed", options->seed,
                   "Seed of the witness search (default: 1), and of the primes of --exact (default: random)")
      ->type_name("N")
      ->check(seeds());
  add_threads_option(*command, options->threads);
  command->add_flag("--force", options->force, "Replace existing certificate and witness files");
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->footer("Exit status: 0 identical or equivalent, 1 distinct, 2 trouble, 3 undecided.");
  command->callback([options, command, &status] {
    refuse_at_model_scope(*command, *options);
    status = run_check(*options);
  });
}

}  // namespace attnsym
