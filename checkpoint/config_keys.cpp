#include "checkpoint/config_keys.hpp"

#include <algorithm>
#include <set>
#include <span>

#include "checkpoint/printable.hpp"

namespace attnsym {
namespace {

using std::string_view;

constexpr string_view neutral_keys[] = {
    // where the file comes from
    "_commit_hash", "_name_or_path", "name_or_path", "transformers_version", "transformers.js_config",
    "unsloth_version", "unsloth_fixed", "auto_map", "custom_pipelines", "_attn_implementation_autoset",
    "_attn_implementation_internal", "attn_implementation", "_attn_implementation", "_flash_attn_2_enabled",
    "_experts_implementation_internal", "use_flash_attention", "use_kernels", "base_model_tp_plan",
    "base_model_pp_plan", "base_model_ep_plan", "model_max_length", "max_sequence_length", "seq_length",
    // how it was trained
    "initializer_range", "initializer_factor", "gradient_checkpointing", "gradient_checkpointing_kwargs",
    "attention_dropout", "attention_probs_dropout_prob", "hidden_dropout", "hidden_dropout_prob",
    "attn_pdrop", "embd_pdrop", "resid_pdrop", "dropout", "classifier_dropout", "classifier_dropout_prob",
    "layerdrop", "finetuning_task", "task_specific_params", "problem_type", "num_labels", "id2label",
    "label2id", "label_smoothing",
    // tokens and texts
    "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "mask_token_id",
    "unk_token_id", "decoder_start_token_id", "tokenizer_class", "prefix", "chat_template",
    // generation
    "assistant_confidence_threshold", "assistant_lookbehind", "bad_words_ids", "begin_suppress_tokens",
    "cache_implementation", "diversity_penalty", "do_sample", "early_stopping",
    "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "epsilon_cutoff", "eta_cutoff",
    "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id", "generation_config",
    "length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_assistant_tokens",
    "num_assistant_tokens_schedule", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores",
    "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "suppress_tokens",
    "target_lookbehind", "temperature", "top_k", "top_p", "typical_p", "use_cache",
    // what is returned, and how it is computed
    "output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "torchscript", "dtype",
    "torch_dtype", "use_bfloat16", "tf_legacy_loss", "chunk_size_feed_forward", "pretraining_tp",
    // of other kinds of models
    "cross_attention_hidden_size", "tie_encoder_decoder"};

// Read whatever the family.
constexpr string_view read_keys[] = {"model_type",          "architectures",      "tie_word_embeddings",
                                     "add_cross_attention", "is_encoder_decoder", "quantization_config",
                                     "is_causal",           "layer_types",        "head_dim",
                                     "num_key_value_heads"};

// Read where there are rotary positions.
constexpr string_view rotary_keys[] = {"rope_parameters", "rope_scaling", "partial_rotary_factor",
                                       "max_position_embeddings", "original_max_position_embeddings"};

bool is_one_of(string_view key, std::span<const string_view> list) {
  return std::ranges::find(list, key) != list.end();
}

// Every key that the layout names.
std::set<std::string, std::less<>> keys_of(const Layout& layout) {
  std::set<std::string, std::less<>> keys(layout.named.begin(), layout.named.end());
  const auto add = [&](const ConfigValue& value) { keys.insert(value.keys.begin(), value.keys.end()); };
  const auto add_switch = [&](const std::optional<Switch>& flag) {
    if (flag) keys.insert(flag->key);
  };
  const SizeKeys& sizes = layout.sizes;
  const StatedSizes& stated = layout.stated;
  for (const ConfigValue* value :
       {&sizes.layers, &sizes.hidden_size, &sizes.heads, &sizes.kv_heads, &sizes.head_dim, &stated.vocabulary,
        &stated.mlp, &stated.positions, &stated.token_types, &stated.channels, &stated.patch, &stated.image,
        &layout.positions.base, &layout.positions.local_base, &layout.positions.fraction,
        &layout.query_scalar, &layout.softcap, &layout.window})
    add(*value);
  for (const std::string& key :
       {layout.causal_key, layout.scaled_flag, layout.inverse_layer_flag, layout.window_flag, layout.nested})
    keys.insert(key);
  for (const std::vector<std::string>& alike : layout.agree) keys.insert(alike.begin(), alike.end());
  for (const auto& flag : {layout.biases.inputs, layout.biases.output, layout.biases.mlp, layout.biases.head})
    add_switch(flag);
  if (!layout.query_norm.empty()) add(layout.norm_epsilon);
  if (layout.window_layers == WindowLayers::FromMaxWindowLayers) keys.insert("max_window_layers");
  if (layout.window_layers == WindowLayers::AllButEveryPattern) keys.insert("sliding_window_pattern");
  if (const auto& model = layout.model) {
    add(model->norm_epsilon);
    add(model->softcap);
    for (const std::string& key : {model->padding_key, model->parallel_key, model->parallel_norms_key,
                                   model->activation_key, model->refused_flag})
      keys.insert(key);
  }
  return keys;
}

bool is_never(const std::optional<Switch>& flag) { return flag && flag->key.empty() && !flag->fixed; }

// Some files say of biases that a class has not that there are none.
bool denies_a_bias(const JsonObject& object, string_view key, const BiasSwitches& biases) {
  if (object.dump(key) != "false") return false;
  if (key == "attention_bias") return is_never(biases.inputs) && is_never(biases.output);
  return (key == "mlp_bias" && is_never(biases.mlp)) || (key == "lm_head_bias" && is_never(biases.head));
}

void refuse_unknown(const JsonObject& object, const Layout& layout,
                    const std::set<std::string, std::less<>>& known) {
  const bool is_rotary = layout.positions.kind == PositionKeys::Kind::Rotary;
  for (const std::string& key : object.keys()) {
    if (object.is_empty(key) || known.contains(key) || is_neutral(key) || is_one_of(key, read_keys)) continue;
    if (is_rotary && is_one_of(key, rotary_keys)) continue;
    if (denies_a_bias(object, key, layout.biases)) continue;
    if (std::ranges::find(*layout.neutral, key) != layout.neutral->end()) continue;
    object.fail(in_quotes(key) + " is not known to be neutral for " + layout.model_type + " models");
  }
}

void refuse_disagreement(const JsonObject& config, const std::vector<std::string>& alike) {
  const std::string* first = nullptr;
  for (const std::string& key : alike) {
    if (!config.has(key)) continue;
    if (first == nullptr) first = &key;
    if (config.same(*first, config, key)) continue;
    config.fail(in_quotes(*first) + " is " + in_quotes(config.dump(*first)) + " and " + in_quotes(key) +
                " is " + in_quotes(config.dump(key)) + ": libraries read the one or the other");
  }
}

}  // namespace

bool is_neutral(string_view key) { return is_one_of(key, neutral_keys); }

void require_understood(const JsonObject& document, const JsonObject& config, const Layout& layout) {
  for (const std::vector<std::string>& alike : layout.agree) refuse_disagreement(config, alike);
  if (!layout.neutral) return;
  refuse_unknown(config, layout, keys_of(layout));
  if (layout.nested.empty()) return;
  refuse_unknown(document, layout, {layout.nested});
  if (document.has("tie_word_embeddings") && config.has("tie_word_embeddings") &&
      !document.same("tie_word_embeddings", config, "tie_word_embeddings"))
    document.fail("'tie_word_embeddings' is one thing here and another in " + in_quotes(layout.nested));
}

}  // namespace attnsym
