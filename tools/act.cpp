#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "symmetry/errors.hpp"
#include "symmetry/exact_gauges.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tools/commands.hpp"
#include "tools/rewrite_options.hpp"

namespace attnsym {
namespace {

struct ActOptions {
  RewriteOptions rewrite;
  std::uint64_t seed = 1;
  double condition = 10;
  bool exact = false;
  std::vector<std::string> only;
};

SampleOptions sample_options(const ActOptions& options) {
  const auto wanted = [&](const char* part) {
    return options.only.empty() ||
           std::find(options.only.begin(), options.only.end(), part) != options.only.end();
  };
  SampleOptions sample;
  sample.condition = options.condition;
  sample.heads = wanted("heads");
  sample.readers = wanted("readers");
  sample.qk = wanted("qk");
  sample.vo = wanted("vo");
  sample.bias = wanted("bias") && !options.exact;  // a shift is rounded, an exact gauge is not
  sample.monomial = options.exact;
  return sample;
}

ExitStatus run_act(const ActOptions& options) {
  const Model model = open_model(options.rewrite.in, options.rewrite.files);
  const SampleOptions sample = sample_options(options);
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
  if (options.rewrite.as_json) {
    const nlohmann::json object{{"schema", "attnsym.act/1"},
                                {"output", options.rewrite.out.string()},
                                {"seed", options.seed},
                                {"condition", options.condition}};
    std::printf("%s\n", object.dump(2).c_str());
  } else {
    std::printf("%s: attention of %zu layers moved by a random group element, seed %llu\n",
                options.rewrite.out.string().c_str(), model.layers(),
                static_cast<unsigned long long>(options.seed));
  }
  return ExitStatus::yes;
}

}  // namespace

void setup_act(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<ActOptions>();
  CLI::App* command = app.add_subcommand(
      "act", "Write the same model moved by a random group element, for testing pipelines");
  add_rewrite_options(*command, options->rewrite);
  command->add_option("--seed", options->seed, "Seed of the element")->type_name("N")->capture_default_str();
  command->add_option("--condition", options->condition, "Condition number of every gauge, at least 1")
      ->type_name("C")
      ->check(CLI::Range(1.0, 1e12))
      ->capture_default_str();
  command->add_option("--only", options->only, "Move only these: heads, readers, qk, vo, bias")
      ->delimiter(',')
      ->type_name("PART,...")
      ->check(CLI::IsMember({"heads", "readers", "qk", "vo", "bias"}));
  command->add_flag(
      "--exact", options->exact,
      "Draw gauges from permutations, signs and those powers of two that round nothing in storage");
  command->callback([options, &status] { status = run_act(*options); });
}

}  // namespace attnsym
