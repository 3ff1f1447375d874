#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "checkpoint/write_attention.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/exact_gauges.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tools/commands.hpp"
#include "tools/number_options.hpp"
#include "tools/output.hpp"
#include "tools/rewrite_options.hpp"
#include "tools/unread.hpp"
#include "tools/whole_commands.hpp"

namespace attnsym {
namespace {

struct ActOptions {
  RewriteOptions rewrite;
  std::uint64_t seed = 1;
  double condition = 10;
  bool exact = false;
  std::string scope = "attention";
  std::vector<std::string> only;

  bool wants(const char* part) const {
    return only.empty() || std::find(only.begin(), only.end(), part) != only.end();
  }
};

SampleOptions sample_options(const ActOptions& options) {
  SampleOptions sample;
  sample.condition = options.condition;
  sample.heads = options.wants("heads");
  sample.readers = options.wants("readers");
  sample.qk = options.wants("qk");
  sample.vo = options.wants("vo");
  sample.bias = options.wants("bias") && !options.exact;  // a shift is rounded, an exact gauge is not
  sample.monomial = options.exact;
  return sample;
}

ExitStatus run_act(const ActOptions& options) {
  const Model model = open_model(options.rewrite.in, options.rewrite.files);
  const SampleOptions sample = sample_options(options);
  if (options.scope == "model") {
    return act_on_whole(options.rewrite, model, options.seed,
                        {sample, options.wants("neurons"), options.wants("shift"), options.wants("stream")});
  }
  const std::optional<Dtype> store_as =
      options.rewrite.dtype ? parse_dtype(*options.rewrite.dtype) : std::nullopt;
  rewrite_model(
      options.rewrite, model, "act", options.seed, [&](std::size_t layer, const RoundedAttention& module) {
        Random random(options.seed + 0x9e3779b97f4a7c15U * (layer + 1));
        AttentionElement<double> element = symmetry_of(module.config).sample<double>(random, sample);
        if (options.exact) {
          element = with_exact_products(element, module.weights,
                                        attention_formats(model.checkpoint, static_cast<Index>(layer)));
          if (!symmetry_of(module.config).contains(element))
            throw SingularError("layer " + std::to_string(layer) +
                                ": the storage format leaves no exact gauge");
        }
        AttentionWeights<double> moved = act(element, module.weights);
        if (options.exact) {
          require_exact(model.checkpoint, static_cast<Index>(layer), moved, store_as);
        }
        return RewrittenLayer{std::move(moved), std::move(element)};
      });
  const std::vector<std::string> unread = unread_tensors(Unread::ByFamily, {&model});
  if (options.rewrite.as_json) {
    const nlohmann::json object{{"schema", "attnsym.act/1"},
                                {"output", options.rewrite.out.string()},
                                {"seed", options.seed},
                                {"condition", options.condition},
                                {"unread", unread}};
    print_object(object);
  } else {
    std::printf("%s: attention of %zu layers moved by a random group element, seed %llu\n",
                options.rewrite.out.string().c_str(), model.layers(),
                static_cast<unsigned long long>(options.seed));
    print_unread(unread);
  }
  return ExitStatus::yes;
}

}  // namespace

void setup_act(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<ActOptions>();
  CLI::App* command = app.add_subcommand(
      "act", "Write the same model moved by a random group element, for testing pipelines");
  add_rewrite_options(*command, options->rewrite);
  command->add_option("--seed", options->seed, "Seed of the element")
      ->type_name("N")
      ->check(seeds())
      ->capture_default_str();
  command->add_option("--condition", options->condition, "Condition number of every gauge, at least 1")
      ->type_name("C")
      ->check(numbers_between(1, 1e12))
      ->capture_default_str();
  command
      ->add_option("--scope", options->scope,
                   "What is moved: attention, module by module, or the whole model; gains of norms are then "
                   "folded where the stream is rotated")
      ->check(CLI::IsMember({"attention", "model"}))
      ->capture_default_str();
  command
      ->add_option(
          "--only", options->only,
          "Move only these: heads, readers, qk, vo, bias, and of whole models neurons, shift (between "
          "embeddings and positions), stream")
      ->delimiter(',')
      ->type_name("PART,...")
      ->check(CLI::IsMember({"heads", "readers", "qk", "vo", "bias", "neurons", "shift", "stream"}));
  CLI::Option* exact = command->add_flag(
      "--exact", options->exact,
      "Draw gauges from permutations, signs and those powers of two that round nothing in storage");
  command->callback([options, exact, command, &status] {
    const bool is_model = options->scope == "model";
    if (is_model && exact->count() > 0) throw CLI::ValidationError("--exact is about attention modules");
    for (const std::string& part : options->only) {
      if (!is_model && (part == "neurons" || part == "shift" || part == "stream"))
        throw CLI::ValidationError("--only " + part + " needs --scope model");
    }
    if (is_model && command->count("--certificate") > 0)
      throw CLI::ValidationError("--certificate is about attention modules, not --scope model");
    status = run_act(*options);
  });
}

}  // namespace attnsym
