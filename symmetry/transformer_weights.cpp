#include "symmetry/transformer_weights.hpp"

#include <string>

#include "symmetry/dual.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

template <class M>
void require_shape(const std::string& name, const M& slot, bool present, Index rows, Index cols) {
  const Index wanted_rows = present ? rows : slot.rows();
  const bool fits = present ? slot.rows() == rows && slot.cols() == cols : slot.size() == 0;
  if (fits) return;
  throw ShapeError(name + " is " + std::to_string(slot.rows()) + " x " + std::to_string(slot.cols()) +
                   ", expected " +
                   (present ? std::to_string(wanted_rows) + " x " + std::to_string(cols) : "none"));
}

template <class To, class From>
auto cast_slot(const From& slot) {
  return slot.template cast<To>().eval();
}

template <class To, class From>
Norm<To> cast_norm(const Norm<From>& norm) {
  return {cast_slot<To>(norm.gain), cast_slot<To>(norm.bias)};
}

template <class To, class From>
Mlp<To> cast_mlp(const Mlp<From>& mlp) {
  return {cast_slot<To>(mlp.up),      cast_slot<To>(mlp.gate),      cast_slot<To>(mlp.down),
          cast_slot<To>(mlp.up_bias), cast_slot<To>(mlp.gate_bias), cast_slot<To>(mlp.down_bias)};
}

template <class To, class From>
Transform<To> cast_transform(const Transform<From>& transform) {
  return {cast_slot<To>(transform.dense), cast_slot<To>(transform.bias), cast_norm<To>(transform.norm)};
}

template <class S>
void require_transform(const Transform<S>& transform, const TransformConfig& config,
                       const TransformerConfig& model, const std::string& name) {
  const Index width = config.width;
  require_shape(name + "dense", transform.dense, width > 0, model.model_width, width);
  require_shape(name + "bias", transform.bias, width > 0, 1, width);
  const bool has_norm = width > 0 && config.norm;
  require_shape(name + "gain", transform.norm.gain, has_norm, 1, width);
  require_shape(name + "bias of the norm", transform.norm.bias, has_norm && model.norm == NormKind::Layer, 1,
                width);
}

template <class S>
void require_tasks(const std::vector<Task<S>>& tasks, const TransformerConfig& model) {
  if (tasks.size() != model.tasks.size()) {
    throw ShapeError(std::to_string(tasks.size()) + " tasks, expected " + std::to_string(model.tasks.size()));
  }
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const TaskConfig& config = model.tasks[i];
    const std::string name = "task " + std::to_string(i) + ": ";
    require_transform(tasks[i].transform, config.transform, model, name + "transform's ");
    const Index read = config.transform.width > 0 ? config.transform.width : model.model_width;
    require_shape(name + "map", tasks[i].output, config.outputs > 0, read, config.outputs);
    require_shape(name + "bias", tasks[i].output_bias, config.bias, 1, config.outputs);
  }
}

}  // namespace

template <Scalar S>
void require_fits(const Norm<S>& norm, const TransformerConfig& config, bool present,
                  const std::string& name) {
  require_shape(name + " gain", norm.gain, present, 1, config.model_width);
  require_shape(name + " bias", norm.bias, present && config.norm == NormKind::Layer, 1, config.model_width);
}

template <Scalar S>
void require_fits(const Mlp<S>& mlp, const TransformerConfig& config) {
  const Index width = config.mlp.width;
  require_shape("up", mlp.up, true, config.model_width, width);
  require_shape("gate", mlp.gate, config.mlp.gated, config.model_width, width);
  require_shape("down", mlp.down, true, width, config.model_width);
  require_shape("up bias", mlp.up_bias, config.mlp.input_bias, 1, width);
  require_shape("gate bias", mlp.gate_bias, config.mlp.input_bias && config.mlp.gated, 1, width);
  require_shape("down bias", mlp.down_bias, config.mlp.output_bias, 1, config.model_width);
}

template <Scalar S>
void require_fits(const Block<S>& block, const TransformerConfig& config, Index layer) {
  const std::string where = "block " + std::to_string(layer) + ": ";
  const bool before = config.norms_before();
  require_fits(block.attention_input, config, before, where + "norm in front of attention");
  require_fits(block.mlp_input, config, before && !config.shared_norm, where + "norm in front of the MLP");
  require_fits(block.attention_output, config, config.norms_behind(), where + "norm behind attention");
  require_fits(block.mlp_output, config, config.norms_behind(), where + "norm behind the MLP");
  require_fits(block.attention, config.attention[static_cast<std::size_t>(layer)]);
  require_fits(block.mlp, config);
}

template <Scalar S>
void require_fits(const TransformerWeights<S>& weights, const TransformerConfig& config) {
  config.validate();
  const Index d = config.model_width;
  require_shape("embedding", weights.embedding, true, config.vocabulary, d);
  require_shape("positions", weights.positions, config.learns_positions(), config.positions, d);
  require_shape("token types", weights.token_types, config.token_types > 0, config.token_types, d);
  require_fits(weights.embedding_norm, config, config.embedding_norm, "norm of embeddings");
  if (static_cast<Index>(weights.blocks.size()) != config.blocks()) {
    throw ShapeError(std::to_string(weights.blocks.size()) + " blocks, expected " +
                     std::to_string(config.blocks()));
  }
  for (Index layer = 0; layer < config.blocks(); ++layer)
    require_fits(weights.blocks[static_cast<std::size_t>(layer)], config, layer);
  require_fits(weights.final_norm, config, config.final_norm, "final norm");
  require_transform(weights.head_transform, config.head_transform, config, "transform of the head: ");
  require_shape("unembedding", weights.unembedding, config.head == Head::Own, config.vocabulary,
                config.head_transform.width > 0 ? config.head_transform.width : d);
  require_tasks(weights.tasks, config);
  require_shape("bias of the head", weights.head_bias, config.head_bias, 1, config.vocabulary);
}

template <Scalar To, Scalar From>
TransformerWeights<To> cast(const TransformerWeights<From>& weights) {
  TransformerWeights<To> result{cast_slot<To>(weights.embedding),
                                cast_slot<To>(weights.positions),
                                cast_slot<To>(weights.token_types),
                                cast_norm<To>(weights.embedding_norm),
                                {},
                                cast_norm<To>(weights.final_norm),
                                cast_slot<To>(weights.unembedding),
                                cast_slot<To>(weights.head_bias),
                                cast_transform<To>(weights.head_transform),
                                {}};
  for (const Task<From>& task : weights.tasks) {
    result.tasks.push_back(
        {cast_transform<To>(task.transform), cast_slot<To>(task.output), cast_slot<To>(task.output_bias)});
  }
  for (const Block<From>& block : weights.blocks) {
    result.blocks.push_back({cast_norm<To>(block.attention_input), cast_norm<To>(block.attention_output),
                             cast_norm<To>(block.mlp_input), cast_norm<To>(block.mlp_output),
                             cast<To>(block.attention), cast_mlp<To>(block.mlp)});
  }
  return result;
}

template void require_fits(const Block<double>&, const TransformerConfig&, Index);
template void require_fits(const Block<Dual>&, const TransformerConfig&, Index);
template void require_fits(const TransformerWeights<double>&, const TransformerConfig&);
template void require_fits(const TransformerWeights<Dual>&, const TransformerConfig&);

template TransformerWeights<Dual> cast(const TransformerWeights<double>&);

}  // namespace attnsym
