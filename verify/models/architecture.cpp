#include "verify/models/architecture.hpp"

#include <algorithm>

namespace attnsym {
namespace {

// Whether a task has a bias does not matter, as one may be zero.
bool same_outputs(const TaskConfig& a, const TaskConfig& b) {
  return a.tokens == b.tokens && a.transform == b.transform && a.outputs == b.outputs;
}

bool has_logits(const TransformerConfig& config) {
  return config.head == Head::Own || config.head == Head::Tied;
}

// Padding is known to what reads the last token.
bool reads_last(const TransformerConfig& config) {
  return std::ranges::any_of(config.tasks,
                             [](const TaskConfig& task) { return task.tokens == ReadTokens::Last; });
}

}  // namespace

std::string different_architecture(const TransformerConfig& a, const TransformerConfig& b) {
  if (a.blocks() != b.blocks())
    return std::to_string(a.blocks()) + " and " + std::to_string(b.blocks()) + " blocks";
  if (a.model_width != b.model_width)
    return "widths " + std::to_string(a.model_width) + " and " + std::to_string(b.model_width);
  if (a.norm != b.norm || a.norm_epsilon != b.norm_epsilon) return "different norms";
  if (a.placement != b.placement || a.parallel != b.parallel || a.embedding_norm != b.embedding_norm ||
      a.final_norm != b.final_norm)
    return "norms in different places";
  if (a.positions != b.positions || a.position_offset != b.position_offset ||
      a.token_types != b.token_types || a.class_token != b.class_token)
    return "different tables of positions or token types";
  if (a.mlp.activation != b.mlp.activation || a.mlp.gated != b.mlp.gated) return "different activations";
  if ((a.head != b.head && !(has_logits(a) && has_logits(b))) || a.head_transform != b.head_transform ||
      a.ends_in_stream() != b.ends_in_stream() || !std::ranges::equal(a.tasks, b.tasks, same_outputs))
    return "different heads";
  if (reads_last(a) && a.padding != b.padding) return "different padding";
  if (a.logit_softcap != b.logit_softcap) return "different caps of logits";
  return {};
}

}  // namespace attnsym
