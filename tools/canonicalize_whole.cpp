#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "symmetry/canonical.hpp"
#include "symmetry/canonical_model.hpp"
#include "symmetry/folding.hpp"
#include "tools/output.hpp"
#include "tools/unread.hpp"
#include "tools/whole_commands.hpp"
#include "verify/stored_precision.hpp"

namespace attnsym {
namespace {

// The coarsest relative error of a module's numbers.
double unit_of(const AttentionWeights<double>& value, const AttentionWeights<double>& radius) {
  std::vector<double> sizes;
  for_each_slot(value, [&](const auto& slot) { sizes.push_back(slot.norm()); });
  double unit = 0;
  std::size_t next = 0;
  for_each_slot(radius, [&](const auto& slot) {
    const double size = sizes[next++];
    if (size > 0) unit = std::max(unit, slot.norm() / size);
  });
  return unit;
}

// As attention's canonical form, with the noise that numbers of this precision have.
AttentionWeights<double> canonical_attention(const AttentionConfig& config, AttentionWeights<double> weights,
                                             double unit) {
  StoredAttention module{config, weights, std::move(weights)};
  for_each_slot(module.radius, [&](auto& slot) { slot = unit * slot.cwiseAbs().eval(); });
  return canonicalize(module.weights, config, stored_precision(module)).weights;
}

WholeChange neurons_alone() {
  return {
      [](const TransformerGroup&, const StoredModel&, TransformerWeights<double> outside) { return outside; },
      [](const TransformerGroup& group, Index, StoredBlock block) {
        Mlp<double>& mlp = block.value.mlp;
        mlp = act(canonical_neurons(group.config().mlp, mlp), mlp);
        return std::move(block.value);
      },
      false};
}

// @param stream  set by the first part and used by all others
WholeChange everything(StreamMove& stream) {
  return {
      [&stream](const TransformerGroup& group, const StoredModel& model, TransformerWeights<double> outside) {
        outside = folded(group, Folding::WhereAllowed, std::move(outside));
        gather_positions(group, outside);
        stream = canonical_stream(group, outside, [&](Index layer) {
          return folded(group, Folding::WhereAllowed, layer, read_block(model, layer).value);
        });
        return act(stream, std::move(outside));
      },
      [&stream](const TransformerGroup& group, Index layer, StoredBlock stored) {
        const double unit = unit_of(stored.value.attention, stored.radius.attention);
        Block<double> block =
            act(stream, folded(group, Folding::WhereAllowed, layer, std::move(stored.value)));
        block.attention = canonical_attention(group.config().attention[static_cast<std::size_t>(layer)],
                                              std::move(block.attention), unit);
        block.mlp = act(canonical_neurons(group.config().mlp, block.mlp), block.mlp);
        return block;
      }};
}

// What of the gains stays where it is, and why.
std::string kept_gains(const TransformerConfig& config) {
  std::string text;
  if (const auto reason = gains_are_fixed(config)) text = "gains of blocks stay: " + *reason;
  if (const auto reason = final_gain_is_fixed(config))
    text += (text.empty() ? "" : "; ") + std::string("gains stay in place: ") + *reason;
  return text;
}

}  // namespace

ExitStatus canonicalize_whole(const RewriteOptions& options, const Model& model, bool neurons_only) {
  StreamMove stream;
  const TransformerGroup group =
      rewrite_whole(options, model, "canonicalize", neurons_only ? neurons_alone() : everything(stream));
  const std::string kept = neurons_only ? "" : kept_gains(group.config());
  const std::vector<std::string> unread = unread_tensors(Unread::ByModel, {&model});
  if (options.as_json) {
    const nlohmann::json object{{"schema", "attnsym.canonicalize/1"},
                                {"output", options.out.string()},
                                {"scope", neurons_only ? "mlp" : "model"},
                                {"group", group.describe()},
                                {"kept", kept},
                                {"unread", unread}};
    print_object(object);
    return ExitStatus::yes;
  }
  std::printf("%s: canonical form written of %s\n", options.out.string().c_str(),
              neurons_only ? "all MLPs" : "the whole model");
  if (!neurons_only) std::printf("group  %s\n", group.describe().c_str());
  if (!kept.empty()) std::printf("kept   %s\n", kept.c_str());
  print_unread(unread);
  return ExitStatus::yes;
}

}  // namespace attnsym
