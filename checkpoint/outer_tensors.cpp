#include "checkpoint/outer_tensors.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <span>

#include "checkpoint/neighbours.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/read_attention.hpp"
#include "checkpoint/tensor_checks.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

const ModelLayout& require_model_layout(const Checkpoint& checkpoint) {
  const std::string model = checkpoint.config().model_type;
  if (!checkpoint.layout().model) {
    throw FormatError(checkpoint.path().string() + ": of " + model +
                      " models only attention is understood, not the whole model");
  }
  const ModelConfig::Outside& outside = *checkpoint.config().outside;
  if (!outside.refused.empty()) {
    throw FormatError(checkpoint.path().string() + ": " + in_quotes(outside.refused) +
                      " is set, which makes it a model that is not understood as a whole");
  }
  if (checkpoint.is_directory()) require_modules_without_weights(checkpoint.path());
  return *checkpoint.layout().model;
}

bool has_part(const std::string& name, std::span<const std::string_view> parts) {
  return std::ranges::any_of(parts,
                             [&](std::string_view part) { return name.find(part) != std::string::npos; });
}

// Heads of tasks read the stream, and what brings images to it writes there, but they are not the model.
bool is_beside_model(const std::string& name) {
  constexpr std::array<std::string_view, 9> parts{
      "pooler.",          "cls.",           "classifier.",         "qa_outputs.",           "score.",
      "lm_head.decoder.", "lm_head.dense.", "lm_head.layer_norm.", "multi_modal_projector."};
  return has_part(name, parts);
}

// Buffers, parts that other tensors replace or that are another model, and the bias behind a head of a task.
bool is_no_weight(const std::string& name) {
  constexpr std::array<std::string_view, 7> ends{
      ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias",
      ".inv_freq",  "position_ids",      "lm_head.bias"};
  constexpr std::array<std::string_view, 3> parts{"embeddings.mask_token", "embeddings.token_type_ids",
                                                  "vision_tower."};
  return std::ranges::any_of(ends, [&](std::string_view end) { return name.ends_with(end); }) ||
         has_part(name, parts);
}

bool same_bytes(const StoredTensor& a, const StoredTensor& b) {
  return a.info->dtype == b.info->dtype && a.info->shape == b.info->shape &&
         std::ranges::equal(a.bytes(), b.bytes());
}

}  // namespace

OuterTensors::OuterTensors(const Checkpoint& checkpoint)
    : checkpoint_(checkpoint), layout_(require_model_layout(checkpoint)) {
  for (const std::string& name : layout_.heads) {
    if (head_weight_) break;
    head_name_ = name;
    head_weight_ = checkpoint.find(name + ".weight");
  }
  const bool tied = checkpoint.config().outside->tied;
  head_ = tied ? Head::Tied : head_weight_ ? Head::Own : Head::None;
  if (head_ != Head::None && checkpoint.is_directory() && has_modules(checkpoint.path()))
    throw FormatError(
        (checkpoint.path() / "modules.json").string() +
        ": makes vectors of the hidden states of a model that has a head: what counts as its outputs "
        "is not understood; --scope attention does without it");
  if (tied && head_weight_ && !same_bytes(*head_weight_, *table(Table::Embedding))) {
    throw FormatError(head_weight_->describe() + " is not the embeddings, to which " +
                      checkpoint.config_name() + " ties it");
  }
}

std::optional<StoredTensor> OuterTensors::table(Table table) const {
  if (table == Table::Embedding) return checkpoint_.require(layout_.embedding, 0);
  if (table == Table::Unembedding) {
    if (head_ == Head::Own) return head_weight_;
    return head_ == Head::Tied ? this->table(Table::Embedding) : std::nullopt;
  }
  const std::string& name = table == Table::Positions ? layout_.positions : layout_.token_types;
  if (name.empty()) return std::nullopt;
  return checkpoint_.require(name, 0);
}

std::vector<StoredTensor> OuterTensors::types_apart() const {
  if (layout_.class_token.empty()) return {};
  return {checkpoint_.require(layout_.patch_bias, 0), checkpoint_.require(layout_.class_token, 0)};
}

bool OuterTensors::wants(NormPlace place) const {
  const NormPlacement placement = layout_.placement;
  const bool before = placement == NormPlacement::Before || placement == NormPlacement::Around;
  switch (place) {
    case NormPlace::AttentionInput:
      return before;
    case NormPlace::MlpInput:  // side by side they may share attention's
      return before && !checkpoint_.config().outside->parallel;
    case NormPlace::AttentionOutput:
    case NormPlace::MlpOutput:
      return placement != NormPlacement::Before;
    default:
      return !layout_.norms[static_cast<std::size_t>(place)].gains.empty();
  }
}

std::optional<LinearTensors> OuterTensors::norm(NormPlace place, Index layer) const {
  const NormNames& names = layout_.norms[static_cast<std::size_t>(place)];
  for (std::size_t i = 0; i < names.gains.size(); ++i) {
    const auto gain = checkpoint_.find(names.gains[i], layer);
    if (!gain) continue;
    LinearTensors norm{*gain, std::nullopt};
    if (layout_.norm == NormKind::Layer) norm.bias = checkpoint_.require(names.biases[i], layer);
    return norm;
  }
  if (!wants(place)) return std::nullopt;
  if (names.gains.empty()) {
    throw FormatError(checkpoint_.path().string() + ": the layout of " + checkpoint_.config().model_type +
                      " does not say where a norm is that its placement asks for");
  }
  checkpoint_.require(names.gains.front(), layer);  // throws
  return std::nullopt;
}

std::optional<LinearTensors> OuterTensors::find_linear(const LinearNames& names, Index layer) const {
  if (names.weight.empty()) return std::nullopt;
  return LinearTensors{checkpoint_.require(names.weight, layer), checkpoint_.find(names.bias, layer)};
}

LinearTensors OuterTensors::require_linear(const LinearNames& names, Index layer) const {
  return *find_linear(names, layer);
}

MlpTensors OuterTensors::mlp(Index layer) const {
  MlpTensors mlp{require_linear(layout_.up, layer), find_linear(layout_.gate, layer),
                 require_linear(layout_.down, layer)};
  for (const LinearTensors* linear : {&mlp.up, mlp.gate ? &*mlp.gate : &mlp.up, &mlp.down}) {
    require_bias(checkpoint_, checkpoint_.config().biases.mlp, checkpoint_.layout().biases.mlp,
                 linear->weight, linear->bias);
  }
  return mlp;
}

std::optional<StoredTensor> OuterTensors::head_bias() const {
  if (head_ == Head::None) return std::nullopt;
  const auto bias = checkpoint_.find(head_name_ + ".bias");
  require_bias(checkpoint_, checkpoint_.config().biases.head, checkpoint_.layout().biases.head,
               *table(Table::Unembedding), bias);
  return bias;
}

std::optional<StoredTensor> OuterTensors::beside_model() const {
  for (const TensorFile& file : checkpoint_.files()) {
    for (const TensorInfo& tensor : file.tensors()) {
      if (!is_no_weight(tensor.name) && is_beside_model(tensor.name)) return StoredTensor{&file, &tensor};
    }
  }
  return std::nullopt;
}

void OuterTensors::refuse_unknown() const {
  std::set<std::string> known;
  const auto note = [&](const std::optional<StoredTensor>& tensor) {
    if (tensor) known.insert(tensor->info->name);
  };
  const auto note_linear = [&](const std::optional<LinearTensors>& linear) {
    if (!linear) return;
    note(linear->weight);
    note(linear->bias);
  };
  for (const Table each : {Table::Embedding, Table::Positions, Table::TokenTypes}) note(table(each));
  for (const StoredTensor& type : types_apart()) note(type);
  note(head_weight_);
  note(head_bias());
  for (Index layer = 0; layer < layer_count(checkpoint_); ++layer) {
    for (const StoredTensor& tensor : stored_attention_tensors(checkpoint_, layer)) note(tensor);
    for (std::size_t place = 0; place < norm_places; ++place)
      note_linear(norm(static_cast<NormPlace>(place), layer));
    const MlpTensors tensors = mlp(layer);
    note_linear(tensors.up);
    note_linear(tensors.gate);
    note_linear(tensors.down);
  }
  for (const TensorFile& file : checkpoint_.files()) {
    for (const TensorInfo& tensor : file.tensors()) {
      if (known.contains(tensor.name) || is_no_weight(tensor.name) || is_beside_model(tensor.name)) continue;
      if (checkpoint_.foreign() && checkpoint_.foreign()->in_config.contains(tensor.name)) continue;
      throw FormatError(StoredTensor{&file, &tensor}.describe() + " has no place in a " +
                        checkpoint_.config().model_type +
                        " model, so the whole model is not understood; --scope attention does without it");
    }
  }
}

}  // namespace attnsym
