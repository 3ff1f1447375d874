#include "checkpoint/module_tensors.hpp"

#include <algorithm>

#include "checkpoint/tensor_checks.hpp"

namespace attnsym {

ModuleTensors::ModuleTensors(const Checkpoint& checkpoint, Index layer)
    : placement_{checkpoint.layout().packing, false, checkpoint.layout().positions.pairs},
      written_as_(placement_) {
  const Layout& layout = checkpoint.layout();
  const std::array<const LinearNames*, 4> linears{&layout.query, &layout.key, &layout.value, &layout.output};
  for (std::size_t i = 0; i < linears.size(); ++i) {
    tensors_[2 * i] = checkpoint.require(linears[i]->weight, layer);
    tensors_[2 * i + 1] = checkpoint.find(linears[i]->bias, layer);
    const bool is_output = linears[i] == &layout.output;
    require_bias(
        checkpoint, is_output ? checkpoint.config().biases.output : checkpoint.config().biases.inputs,
        is_output ? layout.biases.output : layout.biases.inputs, *tensors_[2 * i], tensors_[2 * i + 1]);
  }
  placement_.transposed = layout.transposed && !is_untransposed(checkpoint.config());
  written_as_ = placement_;
  if (checkpoint.foreign()) written_as_ = {layout.packing, layout.transposed, PairLayout::HalfSplit};
  if (layout.query_norm.empty()) return;
  query_gain_ = checkpoint.require(layout.query_norm, layer);
  key_gain_ = checkpoint.require(layout.key_norm, layer);
}

std::vector<StoredTensor> ModuleTensors::present() const {
  std::vector<StoredTensor> list;
  for (const std::optional<StoredTensor>* each : all()) {
    const std::optional<StoredTensor>& tensor = *each;
    if (!tensor) continue;
    const auto known = [&](const StoredTensor& other) { return other.info == tensor->info; };
    if (std::ranges::none_of(list, known)) list.push_back(*tensor);
  }
  return list;
}

std::vector<const std::optional<StoredTensor>*> ModuleTensors::all() const {
  std::vector<const std::optional<StoredTensor>*> list{&query_gain_, &key_gain_};
  for (const std::optional<StoredTensor>& tensor : tensors_) list.push_back(&tensor);
  return list;
}

// minGPT and nanoGPT have GPT-2's names but store [out, in], which the shape of the packed tensor tells.
bool ModuleTensors::is_untransposed(const ModelConfig& config) const {
  const auto& shape = at(Projection::Query, Part::Weight)->info->shape;
  return placement_.packing != Packing::Separate && shape.size() == 2 && shape[0] != config.hidden_size &&
         shape[1] == config.hidden_size;
}

namespace {

AttentionConfig config_of(const ModelConfig& model, const std::optional<QkNorm>& qk_norm,
                          const ModuleTensors& tensors, Index layer) {
  const auto has_bias = [&](Projection projection) { return tensors.at(projection, Part::Bias).has_value(); };
  const ScoreRule scores = model.scores(layer);
  return {.model_width = model.hidden_size,
          .heads = model.heads,
          .groups = model.kv_heads,
          .key_width = model.head_dim,
          .value_width = model.head_dim,
          .query_bias = has_bias(Projection::Query),
          .key_bias = has_bias(Projection::Key),
          .value_bias = has_bias(Projection::Value),
          .output_bias = has_bias(Projection::Output),
          .causal = scores.causal,
          .scale = scores.scale,
          .window = scores.window,
          .rotary = scores.rotary,
          .slopes = scores.slopes,
          .softcap = scores.softcap,
          .qk_norm = qk_norm};
}

void require_shapes(const ModuleTensors& tensors, const AttentionConfig& config, const char* config_name) {
  const ModuleSlices slices(config, tensors.placement());
  for (const Projection projection :
       {Projection::Query, Projection::Key, Projection::Value, Projection::Output}) {
    const std::vector<std::int64_t> shape = slices.shape(projection);
    require_readable(*tensors.at(projection, Part::Weight), shape, config_name);
    if (const auto& bias = tensors.at(projection, Part::Bias))
      require_readable(*bias, {tensors.placement().transposed ? shape[1] : shape[0]}, config_name);
  }
  if (!config.qk_norm) return;
  const bool own = config.qk_norm->gains == QkGains::Own;
  require_readable(*tensors.query_gain(), {(own ? config.heads : 1) * config.key_width}, config_name);
  require_readable(*tensors.key_gain(), {(own ? config.groups : 1) * config.key_width}, config_name);
}

std::optional<QkNorm> qk_norm_of(const Checkpoint& checkpoint) {
  if (checkpoint.layout().query_norm.empty()) return std::nullopt;
  const bool over_all_heads = checkpoint.layout().norm_over_all_heads;
  return QkNorm{checkpoint.config().norm_epsilon, over_all_heads ? QkGains::Own : QkGains::Shared,
                over_all_heads};
}

}  // namespace

AttentionConfig checked_config(const Checkpoint& checkpoint, const ModuleTensors& tensors, Index layer) {
  AttentionConfig config = config_of(checkpoint.config(), qk_norm_of(checkpoint), tensors, layer);
  require_shapes(tensors, config, checkpoint.config_name());
  return config;
}

}  // namespace attnsym
