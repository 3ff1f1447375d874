#include "checkpoint/outer_tensors.hpp"

#include <algorithm>
#include <utility>

#include "checkpoint/neighbours.hpp"
#include "checkpoint/printable.hpp"
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

bool same_bytes(const StoredTensor& a, const StoredTensor& b) {
  return a.info->dtype == b.info->dtype && a.info->shape == b.info->shape &&
         std::ranges::equal(a.bytes(), b.bytes());
}

}  // namespace

OuterTensors::OuterTensors(const Checkpoint& checkpoint)
    : checkpoint_(checkpoint), layout_(require_model_layout(checkpoint)) {
  find_class();
  if (!class_ || class_->main == ModelClass::Main::Head) {
    find_head();
  } else if (class_->main == ModelClass::Main::Predictions) {
    find_predictions(*class_->predictions);
  } else {
    head_ = class_->main == ModelClass::Main::Stream ? Head::None : Head::Tasks;
  }
}

// The configuration may leave it open.
void OuterTensors::find_class() {
  const std::string& name = checkpoint_.config().outside->architecture;
  if (name.empty()) return;
  const std::string& family = checkpoint_.config().model_type;
  class_ = find_model_class(family, name);
  if (class_) return;
  std::vector<std::string> known;
  for (const ModelClass& one : model_classes(family)) known.emplace_back(one.name);
  throw FormatError(checkpoint_.path().string() + ": " + checkpoint_.config_name() + " names the class " +
                    in_quotes(name) + ", whose outputs are not understood; of " + family +
                    " there are: " + joined(known, ", ") + "; --scope attention does without");
}

void OuterTensors::find_head() {
  for (const std::string& name : layout_.heads) {
    if (head_weight_) break;
    head_name_ = name;
    head_weight_ = checkpoint_.find(name + ".weight");
  }
  const bool tied = checkpoint_.config().outside->tied;
  head_ = tied ? Head::Tied : head_weight_ ? Head::Own : Head::None;
  if (head_ != Head::None && checkpoint_.is_directory() && has_modules(checkpoint_.path()))
    throw FormatError(
        (checkpoint_.path() / "modules.json").string() +
        ": makes vectors of the hidden states of a model that has a head: what counts as its outputs "
        "is not understood; --scope attention does without it");
  if (head_ == Head::None && class_) {
    throw FormatError(checkpoint_.path().string() + ": there is no " +
                      (layout_.heads.empty() ? "head" : in_quotes(layout_.heads.front() + ".weight")) +
                      ", which " + std::string(class_->name) + " reads");
  }
  if (head_ != Head::None) {
    head_bias_ = checkpoint_.find(head_name_ + ".bias");
    require_bias(checkpoint_, checkpoint_.config().biases.head, checkpoint_.layout().biases.head,
                 *table(Table::Unembedding), head_bias_);
  }
  require_tied();
}

// A tied decoder has the embeddings and the bias of its own name; another one both under the decoder's.
void OuterTensors::find_predictions(const HeadNames& names) {
  const std::string decoder(names.decoder);
  head_ = checkpoint_.config().outside->tied_predictions ? Head::Tied : Head::Own;
  head_weight_ = checkpoint_.find(decoder + ".weight");
  second_bias_ = checkpoint_.find(decoder + ".bias");
  if (head_ == Head::Own) {
    head_weight_ = require_named(decoder + ".weight");
    head_bias_ = require_named(decoder + ".bias");
    second_bias_.reset();
    return;
  }
  head_bias_ = checkpoint_.find(names.bias);
  if (!head_bias_) head_bias_ = std::exchange(second_bias_, std::nullopt);
  if (!head_bias_) head_bias_ = require_named(std::string(names.bias));
  if (second_bias_ && !same_bytes(*second_bias_, *head_bias_))
    throw FormatError(second_bias_->describe() + " is not " + in_quotes(names.bias) +
                      ", to which it is tied");
  require_tied();
}

void OuterTensors::require_tied() const {
  if (head_ == Head::Tied && head_weight_ && !same_bytes(*head_weight_, *table(Table::Embedding))) {
    throw FormatError(head_weight_->describe() + " is not the embeddings, to which " +
                      checkpoint_.config_name() + " ties it");
  }
}

// {prefix} stands for what precedes the names of blocks.
std::string OuterTensors::full_name(std::string_view name) const {
  constexpr std::string_view mark = "{prefix}";
  if (!name.starts_with(mark)) return std::string(name);
  return checkpoint_.prefix() + std::string(name.substr(mark.size()));
}

StoredTensor OuterTensors::require_named(const std::string& name) const {
  if (const auto found = checkpoint_.find(name)) return *found;
  throw FormatError(checkpoint_.path().string() + ": tensor " + in_quotes(name) + " is missing, which " +
                    std::string(class_->name) + " reads");
}

LinearTensors OuterTensors::require_module(std::string_view name, bool bias) const {
  const std::string module = full_name(name);
  LinearTensors linear{require_named(module + ".weight"), std::nullopt};
  if (bias) linear.bias = require_named(module + ".bias");
  return linear;
}

// Norms may have the names of 2018.
std::optional<TransformTensors> OuterTensors::transform(const TransformNames& names) const {
  if (names.dense.empty()) return std::nullopt;
  TransformTensors tensors{require_module(names.dense, true), std::nullopt};
  if (names.norm.empty()) return tensors;
  const std::string norm = full_name(names.norm);
  const bool is_old = checkpoint_.find(norm + ".gamma").has_value();
  tensors.norm = LinearTensors{require_named(norm + (is_old ? ".gamma" : ".weight")), std::nullopt};
  if (layout_.norm == NormKind::Layer)
    tensors.norm->bias = require_named(norm + (is_old ? ".beta" : ".bias"));
  return tensors;
}

std::optional<TransformTensors> OuterTensors::head_transform() const {
  if (!class_ || !class_->predictions) return std::nullopt;
  return transform(class_->predictions->transform);
}

std::optional<TaskTensors> OuterTensors::task() const {
  if (!class_ || !class_->task) return std::nullopt;
  const TaskNames& names = *class_->task;
  if (names.optional && !checkpoint_.find(full_name(names.transform.dense) + ".weight")) return std::nullopt;
  TaskTensors tensors{names.tokens, transform(names.transform), std::nullopt};
  if (!names.output.empty()) tensors.output = require_module(names.output, names.bias);
  return tensors;
}

std::string OuterTensors::activation(const TransformNames& names) const {
  const ModelConfig::Outside& outside = *checkpoint_.config().outside;
  if (names.activation == "hidden_act") return outside.activation;
  if (names.activation == "pooler_act") return outside.pooler_activation;
  return std::string(names.activation);
}

std::string OuterTensors::head_activation() const { return activation(class_->predictions->transform); }

std::string OuterTensors::task_activation() const { return activation(class_->task->transform); }

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
  if (place == NormPlace::MlpInput && layout_.parallel_shares_norm && checkpoint_.config().outside->parallel)
    return std::nullopt;
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

std::vector<StoredTensor> OuterTensors::beside() const {
  std::vector<StoredTensor> tensors;
  if (class_ && !class_->has_images) return tensors;
  for (const TensorFile& file : checkpoint_.files()) {
    for (const TensorInfo& tensor : file.tensors()) {
      if (is_beside_text(checkpoint_.config().model_type, tensor.name)) tensors.push_back({&file, &tensor});
    }
  }
  return tensors;
}

}  // namespace attnsym
