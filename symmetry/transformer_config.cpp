#include "symmetry/transformer_config.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

Index numbers_of(const MlpConfig& mlp, Index model_width) {
  const Index inputs = mlp.gated ? 2 : 1;
  return (inputs + 1) * model_width * mlp.width + (mlp.input_bias ? inputs * mlp.width : 0) +
         (mlp.output_bias ? model_width : 0);
}

Index numbers_of(const TransformConfig& transform, Index model_width, NormKind norm) {
  const Index behind = transform.norm ? (norm == NormKind::Layer ? 2 : 1) : 0;
  return (model_width + 1 + behind) * transform.width;
}

Index numbers_of(const TaskConfig& task, Index model_width, NormKind norm) {
  const Index read = task.transform.width > 0 ? task.transform.width : model_width;
  return numbers_of(task.transform, model_width, norm) + (read + Index{task.bias}) * task.outputs;
}

void require_task(const TaskConfig& task) {
  if (task.transform.width < 0 || task.outputs < 0 || task.output_width() == 0)
    throw ShapeError("a task needs outputs");
  if (task.bias && task.outputs == 0) throw ShapeError("without a map of a task there is no bias of it");
}

}  // namespace

Index TransformerConfig::output_width() const {
  Index width = head_width();
  for (const TaskConfig& task : tasks) width += task.output_width();
  return width;
}

Index TransformerConfig::parameter_count() const {
  const Index per_norm = (norm == NormKind::Layer ? 2 : 1) * model_width;
  const Index places = (norms_before() ? (shared_norm ? 1 : 2) : 0) + (norms_behind() ? 2 : 0);
  Index count = (vocabulary + (learns_positions() ? positions : 0) + token_types) * model_width;
  count += (Index{embedding_norm} + Index{final_norm} + places * blocks()) * per_norm;
  for (const AttentionConfig& module : attention)
    count += module.parameter_count() + numbers_of(mlp, model_width);
  if (head == Head::Own)
    count += vocabulary * (head_transform.width > 0 ? head_transform.width : model_width);
  count += numbers_of(head_transform, model_width, norm);
  for (const TaskConfig& task : tasks) count += numbers_of(task, model_width, norm);
  return count + (head_bias ? vocabulary : 0);
}

void TransformerConfig::validate() const {
  if (model_width <= 0 || vocabulary <= 0 || mlp.width <= 0 || blocks() == 0)
    throw ShapeError("a transformer needs a width, a vocabulary, blocks and neurons");
  if (positions < 0 || token_types < 0 || position_offset < 0 ||
      (positions > 0 && position_offset >= positions))
    throw ShapeError("tables of positions and token types need rows");
  const bool fits =
      fixed_positions.empty() || static_cast<Index>(fixed_positions.size()) == positions * model_width;
  if (!fits || !std::ranges::all_of(fixed_positions, [](double x) { return std::isfinite(x); }) ||
      (!fixed_positions.empty() && (placement != NormPlacement::Before || class_token)))
    throw ShapeError("fixed positions are finite, D for each, and for norms in front of attention and MLPs");
  if (class_token && (positions < 2 || position_offset != 0 || token_types != 2 ||
                      (head != Head::None && head != Head::Tasks)))
    throw ShapeError("a class token needs positions, two types, and no head but those of tasks");
  for (const AttentionConfig& module : attention) {
    module.validate();
    if (module.model_width != model_width) {
      throw ShapeError("attention is " + std::to_string(module.model_width) + " wide in a model of width " +
                       std::to_string(model_width));
    }
  }
  if (!std::isfinite(norm_epsilon) || norm_epsilon < 0 || !std::isfinite(embedding_scale) ||
      embedding_scale == 0 || !std::isfinite(logit_softcap) || logit_softcap < 0)
    throw ShapeError("epsilon, embedding scale and softcap must be finite, and not negative");
  if (parallel && placement != NormPlacement::Before)
    throw ShapeError("attention and MLP side by side are for norms in front of them");
  if (shared_norm && !parallel) throw ShapeError("only attention and MLP side by side share a norm");
  const bool has_logits = head == Head::Own || head == Head::Tied;
  if (head_bias && !has_logits) throw ShapeError("without a head there is no bias of the head");
  if (head_transform.width < 0 || (head_transform.width > 0 && !has_logits) ||
      (ends_in_stream() && head_transform.width != model_width))
    throw ShapeError("a transform of the head needs a head that reads as many numbers");
  for (const TaskConfig& task : tasks) require_task(task);
  if (head == Head::Tasks && tasks.empty()) throw ShapeError("the model has no outputs");
  if (mlp.activation == Activation::Tanh) throw ShapeError("no MLP has tanh");
}

}  // namespace attnsym
