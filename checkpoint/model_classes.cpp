#include "checkpoint/model_classes.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace attnsym {
namespace {

using Main = ModelClass::Main;

// Read off the modeling files of Hugging Face transformers 5.24.
constexpr TransformNames pooler{"{prefix}pooler.dense", "tanh", ""};
constexpr TaskNames pooled{ReadTokens::First, pooler, "", true, true};
constexpr TaskNames of_pooled{ReadTokens::First, pooler, "classifier"};
constexpr TaskNames classifier{ReadTokens::All, {}, "classifier"};
constexpr TaskNames answers{ReadTokens::All, {}, "qa_outputs"};
constexpr TaskNames last_score{ReadTokens::Last, {}, "score", false};
constexpr TaskNames score{ReadTokens::All, {}, "score"};
constexpr TaskNames next_sentence{ReadTokens::First, pooler, "cls.seq_relationship"};
constexpr TaskNames image_class{ReadTokens::First, {}, "classifier"};
constexpr TaskNames image_pooled{
    ReadTokens::First, {"{prefix}pooler.dense", "pooler_act", ""}, "", true, true};
constexpr TaskNames roberta_class{ReadTokens::First, {"classifier.dense", "tanh", ""}, "classifier.out_proj"};

constexpr HeadNames bert_predictions{
    {"cls.predictions.transform.dense", "hidden_act", "cls.predictions.transform.LayerNorm"},
    "cls.predictions.decoder",
    "cls.predictions.bias"};
constexpr HeadNames roberta_predictions{
    {"lm_head.dense", "gelu", "lm_head.layer_norm"}, "lm_head.decoder", "lm_head.bias"};

constexpr ModelClass stream(std::string_view family, std::string_view name) {
  return {family, name, Main::Stream, {}, {}};
}
constexpr ModelClass head(std::string_view family, std::string_view name) {
  return {family, name, Main::Head, {}, {}};
}
constexpr ModelClass task(std::string_view family, std::string_view name, const TaskNames& names) {
  return {family, name, Main::None, names, {}};
}

constexpr ModelClass classes[] = {
    {"bert", "BertModel", Main::Stream, pooled, {}},
    {"bert", "BertForPreTraining", Main::Predictions, next_sentence, bert_predictions},
    {"bert", "BertForMaskedLM", Main::Predictions, {}, bert_predictions},
    {"bert", "BertLMHeadModel", Main::Predictions, {}, bert_predictions},
    task("bert", "BertForNextSentencePrediction", next_sentence),
    task("bert", "BertForSequenceClassification", of_pooled),
    task("bert", "BertForMultipleChoice", of_pooled),
    task("bert", "BertForTokenClassification", classifier),
    task("bert", "BertForQuestionAnswering", answers),
    stream("bloom", "BloomModel"),
    head("bloom", "BloomForCausalLM"),
    task("bloom", "BloomForSequenceClassification", last_score),
    task("bloom", "BloomForTokenClassification", classifier),
    task("bloom", "BloomForQuestionAnswering", answers),
    stream("falcon", "FalconModel"),
    head("falcon", "FalconForCausalLM"),
    task("falcon", "FalconForSequenceClassification", last_score),
    task("falcon", "FalconForTokenClassification", classifier),
    task("falcon", "FalconForQuestionAnswering", answers),
    stream("gemma", "GemmaModel"),
    head("gemma", "GemmaForCausalLM"),
    task("gemma", "GemmaForSequenceClassification", last_score),
    task("gemma", "GemmaForTokenClassification", score),
    stream("gemma2", "Gemma2Model"),
    head("gemma2", "Gemma2ForCausalLM"),
    task("gemma2", "Gemma2ForSequenceClassification", last_score),
    task("gemma2", "Gemma2ForTokenClassification", score),
    {"gemma3", "Gemma3Model", Main::Stream, {}, {}, true},
    {"gemma3", "Gemma3ForConditionalGeneration", Main::Head, {}, {}, true},
    stream("gemma3_text", "Gemma3TextModel"),
    head("gemma3_text", "Gemma3ForCausalLM"),
    task("gemma3_text", "Gemma3TextForSequenceClassification", last_score),
    stream("gpt2", "GPT2Model"),
    head("gpt2", "GPT2LMHeadModel"),
    task("gpt2", "GPT2ForSequenceClassification", last_score),
    task("gpt2", "GPT2ForTokenClassification", classifier),
    task("gpt2", "GPT2ForQuestionAnswering", answers),
    stream("gpt_neox", "GPTNeoXModel"),
    head("gpt_neox", "GPTNeoXForCausalLM"),
    task("gpt_neox", "GPTNeoXForSequenceClassification", last_score),
    task("gpt_neox", "GPTNeoXForTokenClassification", classifier),
    task("gpt_neox", "GPTNeoXForQuestionAnswering", answers),
    stream("llama", "LlamaModel"),
    head("llama", "LlamaForCausalLM"),
    task("llama", "LlamaForSequenceClassification", last_score),
    task("llama", "LlamaForTokenClassification", score),
    task("llama", "LlamaForQuestionAnswering", answers),
    stream("mistral", "MistralModel"),
    head("mistral", "MistralForCausalLM"),
    task("mistral", "MistralForSequenceClassification", last_score),
    task("mistral", "MistralForTokenClassification", score),
    task("mistral", "MistralForQuestionAnswering", answers),
    stream("olmo2", "Olmo2Model"),
    head("olmo2", "Olmo2ForCausalLM"),
    task("olmo2", "Olmo2ForSequenceClassification", last_score),
    stream("phi", "PhiModel"),
    head("phi", "PhiForCausalLM"),
    task("phi", "PhiForSequenceClassification", last_score),
    task("phi", "PhiForTokenClassification", score),
    stream("phi3", "Phi3Model"),
    head("phi3", "Phi3ForCausalLM"),
    task("phi3", "Phi3ForSequenceClassification", last_score),
    task("phi3", "Phi3ForTokenClassification", score),
    stream("qwen2", "Qwen2Model"),
    head("qwen2", "Qwen2ForCausalLM"),
    task("qwen2", "Qwen2ForSequenceClassification", last_score),
    task("qwen2", "Qwen2ForTokenClassification", score),
    task("qwen2", "Qwen2ForQuestionAnswering", answers),
    stream("qwen3", "Qwen3Model"),
    head("qwen3", "Qwen3ForCausalLM"),
    task("qwen3", "Qwen3ForSequenceClassification", last_score),
    task("qwen3", "Qwen3ForTokenClassification", score),
    task("qwen3", "Qwen3ForQuestionAnswering", answers),
    {"roberta", "RobertaModel", Main::Stream, pooled, {}},
    {"roberta", "RobertaForMaskedLM", Main::Predictions, {}, roberta_predictions},
    {"roberta", "RobertaForCausalLM", Main::Predictions, {}, roberta_predictions},
    task("roberta", "RobertaForSequenceClassification", roberta_class),
    task("roberta", "RobertaForMultipleChoice", of_pooled),
    task("roberta", "RobertaForTokenClassification", classifier),
    task("roberta", "RobertaForQuestionAnswering", answers),
    {"vit", "ViTModel", Main::Stream, image_pooled, {}},
    task("vit", "ViTForImageClassification", image_class),
};

// What older files keep and newer libraries compute.
constexpr std::pair<std::string_view, std::string_view> buffers[] = {
    {"bert", "embeddings.position_ids"},
    {"falcon", "h.{layer}.self_attention.rotary_emb.inv_freq"},
    {"falcon", "h.{layer}.self_attention.maybe_rotary.inv_freq"},
    {"gemma", "layers.{layer}.self_attn.rotary_emb.inv_freq"},
    {"gpt2", "h.{layer}.attn.bias"},
    {"gpt2", "h.{layer}.attn.masked_bias"},
    {"gpt_neox", "layers.{layer}.attention.bias"},
    {"gpt_neox", "layers.{layer}.attention.masked_bias"},
    {"gpt_neox", "layers.{layer}.attention.rotary_emb.inv_freq"},
    {"llama", "layers.{layer}.self_attn.rotary_emb.inv_freq"},
    {"mistral", "layers.{layer}.self_attn.rotary_emb.inv_freq"},
    {"phi", "layers.{layer}.self_attn.rotary_emb.inv_freq"},
    {"phi3", "layers.{layer}.self_attn.rotary_emb.inv_freq"},
    {"qwen2", "layers.{layer}.self_attn.rotary_emb.inv_freq"},
    {"roberta", "embeddings.position_ids"},
    {"roberta", "embeddings.token_type_ids"},
};

constexpr std::pair<std::string_view, Index> paddings[] = {{"bert", 0},     {"gemma", 0},       {"gemma2", 0},
                                                           {"gemma3", 0},   {"gemma3_text", 0}, {"olmo2", 1},
                                                           {"phi3", 32000}, {"roberta", 1}};

}  // namespace

std::optional<ModelClass> find_model_class(std::string_view model_type, std::string_view name) {
  const std::vector<ModelClass> known = model_classes(model_type);
  const auto found = std::ranges::find(known, name, &ModelClass::name);
  if (found != known.end()) return *found;
  if (!known.empty()) return std::nullopt;
  if (name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel")) return head(model_type, name);
  if (name.ends_with("Model") && !name.ends_with("HeadsModel")) return stream(model_type, name);
  return std::nullopt;
}

std::vector<ModelClass> model_classes(std::string_view model_type) {
  std::vector<ModelClass> result;
  for (const ModelClass& one : classes) {
    if (one.model_type == model_type) result.push_back(one);
  }
  return result;
}

std::vector<std::string_view> buffer_patterns(std::string_view model_type) {
  std::vector<std::string_view> result;
  for (const auto& [family, pattern] : buffers) {
    if (family == model_type) result.push_back(pattern);
  }
  return result;
}

bool is_beside_text(std::string_view model_type, std::string_view tensor) {
  if (model_type != "gemma3") return false;
  if (tensor.starts_with("model.")) tensor.remove_prefix(std::string_view("model.").size());
  return tensor.starts_with("vision_tower.") || tensor.starts_with("multi_modal_projector.");
}

std::optional<Index> default_padding(std::string_view model_type) {
  for (const auto& [family, token] : paddings) {
    if (family == model_type) return token;
  }
  return std::nullopt;
}

}  // namespace attnsym
