#include "checkpoint/config_keys.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "checkpoint/model_config.hpp"
#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"

namespace attnsym {
namespace {

using testing::expect_error;

// A small configuration of every family with one more member; gemma3 has it inside.
std::string config_with(const std::string& family, const std::string& member) {
  const std::string more = member.empty() ? "" : "," + member;
  if (family == "gemma3")
    return R"({"model_type":"gemma3","text_config":{"num_hidden_layers":2,"hidden_size":16,
             "num_attention_heads":2,"num_key_value_heads":1,"head_dim":8)" +
           more + "}}";
  if (family == "gpt2") return R"({"model_type":"gpt2","n_layer":2,"n_embd":16,"n_head":2)" + more + "}";
  std::string sizes = R"("num_hidden_layers":2,"hidden_size":16,"num_attention_heads":2)";
  for (const char* grouped : {"gemma", "gemma2", "gemma3_text", "llama", "mistral", "qwen2", "qwen3"}) {
    if (family == grouped) sizes += R"(,"num_key_value_heads":1)";
  }
  if (family.starts_with("gemma") || family == "qwen3") sizes += R"(,"head_dim":8)";
  return R"({"model_type":")" + family + "\"," + sizes + more + "}";
}

ModelConfig parse(const std::string& text) { return parse_model_config(text, "config.json").config; }

ModelConfig parse(const std::string& family, const std::string& member) {
  return parse(config_with(family, member));
}

void expect_refused(const std::string& family, const std::string& member,
                    const std::vector<std::string>& words) {
  SCOPED_TRACE(family + ": " + member);
  for (const std::string& word : words) expect_error<FormatError>([&] { parse(family, member); }, {word});
}

TEST(ConfigKeys, AnUnknownKeyIsRefusedByNameInEveryFamily) {
  for (const std::string& family : family_names()) {
    SCOPED_TRACE(family);
    for (const char* value : {"2.0", "false", "true", R"("x")", "[1]", R"({"a":1})"}) {
      expect_error<FormatError>(
          [&] { parse(family, std::string(R"("attention_multiplier":)") + value); },
          {"config.json: 'attention_multiplier' is not known to be neutral for " + family});
    }
    for (const char* value : {"null", "{}", "[]"})
      EXPECT_NO_THROW(parse(family, std::string(R"("attention_multiplier":)") + value));
  }
}

TEST(ConfigKeys, OutsideOfANestedConfigurationKeysAreKnownToo) {
  const auto around = [](const std::string& member) {
    return R"({"model_type":"gemma3",)" + member +
           R"(,"text_config":{"num_hidden_layers":2,"hidden_size":16,"num_attention_heads":2,
             "num_key_value_heads":1,"head_dim":8,"tie_word_embeddings":true}})";
  };
  EXPECT_NO_THROW(parse(around(R"("mm_tokens_per_image":256,"tie_word_embeddings":true)")));
  expect_error<FormatError>([&] { parse(around(R"("logit_scale":2)")); }, {"'logit_scale' is not known"});
  expect_error<FormatError>([&] { parse(around(R"("tie_word_embeddings":false)")); },
                            {"'tie_word_embeddings'", "'text_config'"});
}

TEST(ConfigKeys, WhatChangesNothingIsAccepted) {
  const char* members[] = {
      R"("torch_dtype":"bfloat16")", R"("dtype":"float32")",    R"("transformers_version":"5.0")",
      R"("bos_token_id":1)",         R"("use_cache":false)",    R"("initializer_range":0.5)",
      R"("attention_dropout":0.25)", R"("id2label":{"0":"a"})", R"("rope_scaling":null)",
      R"("sliding_window":null)"};
  for (const std::string& family : family_names()) {
    const bool has_window = family.starts_with("gemma") && family != "gemma";
    for (const std::string member : members) {
      if (has_window && member.find("sliding_window") != std::string::npos) continue;
      EXPECT_NO_THROW(parse(family, member)) << family << ": " << member;
    }
  }
}

// As their authors publish them, but for lists of labels and names of classes.
TEST(ConfigKeys, PublishedConfigurationsAreAccepted) {
  const char* published[] = {
      R"({"_name_or_path":"nreimers/MiniLM-L6-H384-uncased","architectures":["BertModel"],
          "attention_probs_dropout_prob":0.1,"gradient_checkpointing":false,"hidden_act":"gelu",
          "hidden_dropout_prob":0.1,"hidden_size":384,"initializer_range":0.02,"intermediate_size":1536,
          "layer_norm_eps":1e-12,"max_position_embeddings":512,"model_type":"bert","num_attention_heads":12,
          "num_hidden_layers":6,"pad_token_id":0,"position_embedding_type":"absolute",
          "transformers_version":"4.8.2","type_vocab_size":2,"use_cache":true,"vocab_size":30522})",
      R"({"architectures":["BertForMaskedLM"],"classifier_dropout":null,"directionality":"bidi",
          "hidden_act":"gelu","hidden_size":768,"intermediate_size":3072,"layer_norm_eps":1e-12,
          "max_position_embeddings":512,"model_type":"bert","num_attention_heads":12,"num_hidden_layers":12,
          "pooler_fc_size":768,"pooler_num_attention_heads":12,"pooler_num_fc_layers":3,
          "pooler_size_per_head":128,"pooler_type":"first_token_transform","type_vocab_size":2,
          "vocab_size":105879})",
      R"({"architectures":["RobertaForMaskedLM"],"bos_token_id":0,"eos_token_id":2,"hidden_act":"gelu",
          "hidden_size":768,"intermediate_size":3072,"layer_norm_eps":1e-05,"max_position_embeddings":514,
          "model_type":"roberta","num_attention_heads":12,"num_hidden_layers":12,"pad_token_id":1,
          "type_vocab_size":1,"vocab_size":50265})",
      R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,"attention_dropout":0.0,
          "bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":576,"initializer_range":0.041,
          "intermediate_size":1536,"is_llama_config":true,"max_position_embeddings":8192,"mlp_bias":false,
          "model_type":"llama","num_attention_heads":9,"num_hidden_layers":30,"num_key_value_heads":3,
          "pad_token_id":2,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_interleaved":false,
          "rope_scaling":null,"rope_theta":100000,"tie_word_embeddings":true,"torch_dtype":"bfloat16",
          "transformers.js_config":{"kv_cache_dtype":{"q4f16":"float16"}},"transformers_version":"4.42.3",
          "use_cache":true,"vocab_size":49152})",
      R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,"eos_token_id":[128001,128008],
          "head_dim":64,"hidden_act":"silu","hidden_size":2048,"intermediate_size":8192,
          "max_position_embeddings":131072,"mlp_bias":false,"model_type":"llama","num_attention_heads":32,
          "num_hidden_layers":16,"num_key_value_heads":8,"pretraining_tp":1,"rms_norm_eps":1e-05,
          "rope_scaling":{"factor":32.0,"high_freq_factor":4.0,"low_freq_factor":1.0,
          "original_max_position_embeddings":8192,"rope_type":"llama3"},"rope_theta":500000.0,
          "tie_word_embeddings":true,"vocab_size":128256})",
      R"({"architectures":["Qwen2ForCausalLM"],"attention_dropout":0.0,"hidden_act":"silu",
          "hidden_size":896,"intermediate_size":4864,"max_position_embeddings":32768,
          "max_window_layers":24,"model_type":"qwen2","num_attention_heads":14,"num_hidden_layers":24,
          "num_key_value_heads":2,"rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":32768,
          "tie_word_embeddings":true,"use_mrope":false,"use_sliding_window":false,"vocab_size":151936})",
      R"({"architectures":["Qwen3ForCausalLM"],"attention_bias":false,"head_dim":128,"hidden_act":"silu",
          "hidden_size":1024,"intermediate_size":3072,"max_position_embeddings":40960,
          "max_window_layers":28,"model_type":"qwen3","num_attention_heads":16,"num_hidden_layers":28,
          "num_key_value_heads":8,"rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":1000000,
          "sliding_window":null,"tie_word_embeddings":true,"use_sliding_window":false,"vocab_size":151936})",
      R"({"architectures":["GemmaForCausalLM"],"attention_bias":false,"head_dim":256,"hidden_act":"gelu",
          "hidden_activation":"gelu_pytorch_tanh","hidden_size":2048,"intermediate_size":16384,
          "max_position_embeddings":8192,"model_type":"gemma","num_attention_heads":8,
          "num_hidden_layers":18,"num_key_value_heads":1,"rms_norm_eps":1e-06,"rope_scaling":null,
          "rope_theta":10000.0,"vocab_size":256000})",
      R"({"architectures":["Gemma2ForCausalLM"],"attention_bias":false,"attn_logit_softcapping":50.0,
          "cache_implementation":"hybrid","final_logit_softcapping":30.0,"head_dim":256,
          "hidden_act":"gelu_pytorch_tanh","hidden_activation":"gelu_pytorch_tanh","hidden_size":3584,
          "intermediate_size":14336,"max_position_embeddings":8192,"model_type":"gemma2",
          "num_attention_heads":16,"num_hidden_layers":42,"num_key_value_heads":8,
          "query_pre_attn_scalar":256,"rms_norm_eps":1e-06,"rope_theta":10000.0,"sliding_window":4096,
          "sliding_window_size":4096,"vocab_size":256000})",
      R"({"_sliding_window_pattern":6,"architectures":["Gemma3ForCausalLM"],"attention_bias":false,
          "attn_logit_softcapping":null,"final_logit_softcapping":null,"head_dim":256,
          "hidden_activation":"gelu_pytorch_tanh","hidden_size":640,"intermediate_size":2048,
          "layer_types":["sliding_attention","full_attention"],"max_position_embeddings":32768,
          "model_type":"gemma3_text","num_attention_heads":4,"num_hidden_layers":2,"num_key_value_heads":1,
          "query_pre_attn_scalar":256,"rms_norm_eps":1e-06,"rope_local_base_freq":10000.0,
          "rope_scaling":null,"rope_theta":1000000.0,"sliding_window":512,
          "use_bidirectional_attention":false,"vocab_size":262144})",
      R"({"architectures":["Gemma3ForConditionalGeneration"],"boi_token_index":255999,
          "eoi_token_index":256000,"eos_token_id":[1,106],"image_token_index":262144,
          "initializer_range":0.02,"mm_tokens_per_image":256,"model_type":"gemma3","text_config":{
          "hidden_size":2560,"intermediate_size":10240,"model_type":"gemma3_text","num_hidden_layers":34,
          "rope_scaling":{"factor":8.0,"rope_type":"linear"},"sliding_window":1024},
          "vision_config":{"hidden_size":1152,"model_type":"siglip_vision_model"}})",
      R"({"architectures":["Phi3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,
          "auto_map":{"AutoConfig":"configuration_phi3.Phi3Config"},"embd_pdrop":0.0,"hidden_act":"silu",
          "hidden_size":3072,"intermediate_size":8192,"max_position_embeddings":4096,"model_type":"phi3",
          "num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":32,
          "original_max_position_embeddings":4096,"pad_token_id":32000,"resid_pdrop":0.0,
          "rms_norm_eps":1e-05,"rope_scaling":null,"rope_theta":10000.0,"sliding_window":2047,
          "tie_word_embeddings":false,"vocab_size":32064})",
      R"({"architectures":["PhiForCausalLM"],"attention_dropout":0.0,"embd_pdrop":0.0,
          "hidden_act":"gelu_new","hidden_size":2560,"intermediate_size":10240,"layer_norm_eps":1e-05,
          "max_position_embeddings":2048,"model_type":"phi","num_attention_heads":32,
          "num_hidden_layers":32,"num_key_value_heads":32,"partial_rotary_factor":0.4,"qk_layernorm":false,
          "resid_pdrop":0.1,"rope_scaling":null,"rope_theta":10000.0,"vocab_size":51200})",
      R"({"architectures":["MistralForCausalLM"],"hidden_act":"silu","hidden_size":4096,
          "intermediate_size":14336,"max_position_embeddings":32768,"model_type":"mistral",
          "num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,"rms_norm_eps":1e-05,
          "rope_theta":10000.0,"sliding_window":4096,"tie_word_embeddings":false,"vocab_size":32000})",
      R"({"activation_function":"gelu_new","architectures":["GPT2LMHeadModel"],"attn_pdrop":0.1,
          "bos_token_id":50256,"embd_pdrop":0.1,"eos_token_id":50256,"initializer_range":0.02,
          "layer_norm_epsilon":1e-05,"model_type":"gpt2","n_ctx":1024,"n_embd":768,"n_head":12,"n_layer":12,
          "n_positions":1024,"resid_pdrop":0.1,"summary_activation":null,"summary_first_dropout":0.1,
          "summary_proj_to_labels":true,"summary_type":"cls_index","summary_use_proj":true,
          "task_specific_params":{"text-generation":{"do_sample":true,"max_length":50}},
          "vocab_size":50257})",
      R"({"architectures":["GPTNeoXForCausalLM"],"bos_token_id":0,"eos_token_id":0,"hidden_act":"gelu",
          "hidden_size":512,"initializer_range":0.02,"intermediate_size":2048,"layer_norm_eps":1e-05,
          "max_position_embeddings":2048,"model_type":"gpt_neox","num_attention_heads":8,
          "num_hidden_layers":6,"rotary_emb_base":10000,"rotary_pct":0.25,"tie_word_embeddings":false,
          "use_parallel_residual":true,"vocab_size":50304})",
      R"({"apply_residual_connection_post_layernorm":false,"attention_dropout":0.0,
          "attention_softmax_in_fp32":true,"bias_dropout_fusion":true,"bos_token_id":1,"eos_token_id":2,
          "hidden_dropout":0.0,"initializer_range":0.02,"layer_norm_epsilon":1e-05,
          "masked_softmax_fusion":true,"model_type":"bloom","n_embed":1024,"n_inner":null,"n_layer":24,
          "num_attention_heads":16,"offset_alibi":100,"pretraining_tp":1,"seq_length":2048,
          "skip_bias_add":true,"skip_bias_add_qkv":false,"slow_but_exact":false,"unk_token_id":0,
          "use_cache":true,"vocab_size":250880})",
      R"({"alibi":false,"apply_residual_connection_post_layernorm":false,"architectures":["FalconForCausalLM"],
          "auto_map":{"AutoConfig":"configuration_falcon.FalconConfig"},"bias":false,"hidden_dropout":0.0,
          "hidden_size":4544,"layer_norm_epsilon":1e-05,"model_type":"falcon","multi_query":true,
          "new_decoder_architecture":false,"num_attention_heads":71,"num_hidden_layers":32,
          "parallel_attn":true,"vocab_size":65024})",
      R"({"alibi":false,"apply_residual_connection_post_layernorm":false,"bias":false,"hidden_size":8192,
          "layer_norm_epsilon":1e-05,"model_type":"falcon","multi_query":true,
          "new_decoder_architecture":true,"num_attention_heads":128,"num_hidden_layers":60,
          "num_kv_heads":8,"parallel_attn":true,"vocab_size":65024})",
      R"({"architectures":["Olmo2ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,
          "hidden_act":"silu","hidden_size":2048,"intermediate_size":8192,"max_position_embeddings":4096,
          "model_type":"olmo2","num_attention_heads":16,"num_hidden_layers":16,"num_key_value_heads":16,
          "pad_token_id":100277,"rms_norm_eps":1e-06,"rope_scaling":null,"rope_theta":500000,
          "tie_word_embeddings":false,"vocab_size":100352})",
      R"({"architectures":["ViTModel"],"attention_probs_dropout_prob":0.0,"encoder_stride":16,
          "hidden_act":"gelu","hidden_dropout_prob":0.0,"hidden_size":768,"image_size":224,
          "initializer_range":0.02,"intermediate_size":3072,"layer_norm_eps":1e-12,"model_type":"vit",
          "num_attention_heads":12,"num_channels":3,"num_hidden_layers":12,"patch_size":16,
          "pooler_act":"tanh","pooler_output_size":768,"qkv_bias":true})"};
  for (const char* text : published) EXPECT_NO_THROW(parse(text)) << text;
}

TEST(ConfigKeys, MasksAreNotCausalWhereTheKeySaysSo) {
  for (const std::string& family : family_names()) {
    if (family == "bert" || family == "roberta" || family == "vit") continue;
    EXPECT_TRUE(parse(family, "").scores(0).causal) << family;
    EXPECT_TRUE(parse(family, R"("is_causal":true)").scores(0).causal) << family;
    EXPECT_FALSE(parse(family, R"("is_causal":false)").scores(0).causal) << family;
    EXPECT_FALSE(parse(family, R"("is_causal":null)").scores(0).causal) << family;
  }
  EXPECT_FALSE(parse("bert", R"("is_decoder":true,"is_causal":false)").scores(0).causal);
  EXPECT_FALSE(parse("bert", R"("is_causal":true)").scores(0).causal);
  // Seen from both sides, a window includes its ends.
  EXPECT_EQ(parse("mistral", R"("sliding_window":5)").scores(0).window, 5);
  EXPECT_EQ(parse("mistral", R"("sliding_window":5,"is_causal":false)").scores(0).window, 6);
}

TEST(ConfigKeys, TheActivationIsTheOneThatIsRead) {
  EXPECT_EQ(parse("gemma", R"("hidden_act":"silu")").outside->activation, "silu");
  EXPECT_EQ(parse("gemma", R"("hidden_act":"gelu")").outside->activation, "gelu_pytorch_tanh");
  EXPECT_EQ(parse("gemma", R"("hidden_activation":"gelu_pytorch_tanh")").outside->activation,
            "gelu_pytorch_tanh");
  expect_refused("gemma", R"("hidden_activation":"silu")", {"'hidden_act'", "'hidden_activation'"});
  expect_refused("gemma", R"("hidden_act":"gelu","hidden_activation":"relu")",
                 {"libraries read the one or the other"});
  EXPECT_EQ(parse("gemma2", R"("hidden_act":"silu")").outside->activation, "gelu_pytorch_tanh");
}

TEST(ConfigKeys, AliasesWinAsInTheReference) {
  EXPECT_EQ(parse("gpt2", R"("num_attention_heads":4)").heads, 4);
  EXPECT_EQ(parse("gpt2", R"("num_hidden_layers":1)").layers, 1);
  EXPECT_EQ(parse("gpt2", R"("hidden_size":32)").hidden_size, 32);
  EXPECT_EQ(parse("bloom", R"("n_head":1)").heads, 2);
  EXPECT_EQ(parse("bloom", R"("n_embed":32)").hidden_size, 32);
}

TEST(ConfigKeys, SizesThatAClassDoesNotReadHaveToBeItsOwn) {
  for (const char* family : {"gpt2", "gpt_neox", "bloom", "falcon"}) {
    EXPECT_NO_THROW(parse(family, R"("head_dim":8)")) << family;
    expect_refused(family, R"("head_dim":4)", {"'head_dim' is '4', expected 8"});
  }
  EXPECT_EQ(parse("bert", R"("head_dim":4)").head_dim, 4) << "the shapes of tensors have to agree with it";
  expect_refused("bert", R"("num_key_value_heads":1)", {"'num_key_value_heads' is '1', expected 2"});
}

TEST(ConfigKeys, LayerTypesAreThoseTheClassCanHave) {
  const std::string mixed = R"("layer_types":["sliding_attention","full_attention"])";
  const std::string full = R"("layer_types":["full_attention","full_attention"])";
  const std::string sliding = R"("layer_types":["sliding_attention","sliding_attention"])";
  expect_refused("mistral", mixed, {"'layer_types'", "ignore it"});
  expect_refused("mistral", full, {"'layer_types'"});
  EXPECT_EQ(parse("mistral", sliding + R"(,"sliding_window":3)").scores(1).window, 3);
  EXPECT_EQ(parse("mistral", full + R"(,"sliding_window":null)").scores(1).window, 0);
  expect_refused("llama", mixed, {"there is none"});
  EXPECT_NO_THROW(parse("llama", full));
  expect_refused("qwen2", mixed, {"there is none"});
  EXPECT_EQ(parse("qwen2", mixed + R"(,"use_sliding_window":true,"sliding_window":3)").scores(0).window, 3);
  EXPECT_EQ(parse("gemma2", full).scores(0).window, 0);
  expect_refused("gemma2", R"("layer_types":["chunked_attention","full_attention"])",
                 {"'chunked_attention'"});
  expect_refused("gemma2", R"("layer_types":["full_attention"])", {"1 entries, expected 2"});
}

constexpr const char* long_rope =
    R"({"rope_type":"longrope","short_factor":[1,1,1,2],"long_factor":[1,2,3,4],"factor":4,
        "original_max_position_embeddings":32})";

TEST(ConfigKeys, RotaryPositionsBeyondTheTrainedLengthBelongToTheConfiguration) {
  const auto rotary = [](const std::string& scaling) {
    return parse("llama", R"("max_position_embeddings":64,"rope_scaling":)" + scaling).full.rotary;
  };
  const Rotary plain = rotary("null");
  EXPECT_FALSE(plain.beyond);
  const Rotary dynamic = rotary(R"({"rope_type":"dynamic","factor":4})");
  ASSERT_TRUE(dynamic.beyond);
  EXPECT_EQ(dynamic.frequencies, plain.frequencies);
  EXPECT_EQ(dynamic.beyond->length, 64);
  EXPECT_EQ(dynamic.at(64), plain.frequencies);
  // The base grows by (4 * 96 / 64 - 3)^(8 / 6) = 3^(4/3); pair p has base^(-p/4).
  EXPECT_NEAR(dynamic.at(96)[3], std::pow(10000 * std::pow(3.0, 4.0 / 3), -0.75), 1e-15);
  EXPECT_NE(dynamic, rotary(R"({"rope_type":"dynamic","factor":8})"));

  const Rotary scaled = rotary(long_rope);
  ASSERT_TRUE(scaled.beyond);
  EXPECT_EQ(scaled.beyond->length, 32);
  EXPECT_NEAR(scaled.at(32)[3], 1e-3 / 2, 1e-15);
  EXPECT_NEAR(scaled.at(33)[3], 1e-3 / 4, 1e-15);
  EXPECT_FALSE(
      rotary(R"({"rope_type":"longrope","short_factor":[1,1,1,2],"long_factor":[1,1,1,2],"factor":4})")
          .beyond);
  expect_refused(
      "llama",
      R"("max_position_embeddings":64,"rope_scaling":{"rope_type":"longrope","short_factor":[1,1,1,1]})",
      {"'long_factor'"});
}

TEST(ConfigKeys, RopeScalingWinsOverRopeParameters) {
  const std::string parameters = R"("rope_parameters":{"rope_type":"default","rope_theta":500})";
  EXPECT_EQ(parse("llama", parameters).full.rotary, parse("llama", R"("rope_theta":500)").full.rotary);
  EXPECT_EQ(parse("llama", parameters + R"(,"rope_scaling":{"type":"linear","factor":4})").full.rotary,
            parse("llama", R"("rope_scaling":{"type":"linear","factor":4})").full.rotary);
  EXPECT_EQ(parse("llama", parameters + R"(,"rope_scaling":{})").full.rotary,
            parse("llama", parameters).full.rotary);
  expect_refused("gemma3_text", parameters + R"(,"rope_scaling":{"rope_type":"linear","factor":4})",
                 {"'rope_scaling' and 'rope_parameters'"});
}

TEST(ConfigKeys, TheTrainedLengthAtTheTopWins) {
  const auto yarn = [](const std::string& inside, const std::string& top) {
    return parse("llama", R"("max_position_embeddings":64,"rope_parameters":{"rope_type":"yarn","factor":4,
                              "rope_theta":10000)" +
                              inside + "}" + top)
        .full.rotary;
  };
  const std::string length = R"(,"original_max_position_embeddings":)";
  EXPECT_EQ(yarn(length + "4096", length + "16"), yarn(length + "16", ""));
  EXPECT_NE(yarn(length + "4096", ""), yarn(length + "16", ""));
  EXPECT_EQ(yarn("", ""), yarn(length + "64", ""));
  // phi3 has a length by its class.
  const auto phi3 = [&](const std::string& top) {
    return parse("phi3",
                 R"("max_position_embeddings":8192,"rope_scaling":{"type":"su","short_factor":[1,1,1,1],
                             "long_factor":[2,2,2,2],"original_max_position_embeddings":32})" +
                     top)
        .full.rotary;
  };
  EXPECT_EQ(phi3("").beyond->length, 4096);
  EXPECT_EQ(phi3(length + "64").beyond->length, 64);
}

TEST(ConfigKeys, ASharePartlyTurnedIsReadWhereTheClassReadsIt) {
  const std::string half =
      R"("rope_parameters":{"rope_type":"default","rope_theta":10000,"partial_rotary_factor":0.5})";
  for (const char* family : {"phi", "phi3", "gpt_neox"})
    EXPECT_EQ(parse(family, half).full.rotary.pairs(), 2) << family;
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "olmo2"})
    expect_refused(family, half, {"'partial_rotary_factor' is not 1"});
  EXPECT_EQ(parse("gpt_neox", R"("rotary_pct":0.5)").full.rotary.pairs(), 2);
  expect_refused("gpt_neox", R"("rotary_pct":0.5,"partial_rotary_factor":1.0)", {"'rotary_pct'"});
}

TEST(ConfigKeys, TypesAndParametersOfScalingAreKnown) {
  expect_refused("llama", R"("rope_scaling":{"type":"su","factor":4})", {"'type' is '\"su\"'"});
  expect_refused("phi3", R"("rope_scaling":{"type":"linear","factor":4})", {"default, longrope, su, yarn"});
  expect_refused("llama", R"("rope_scaling":{"type":"linear","factor":4,"mrope_section":[1,1]})",
                 {"'mrope_section'"});
  expect_refused("qwen2", R"("rope_parameters":{"full_attention":{"rope_theta":500}})", {"'full_attention'"});
}

// Flat parameters are not read by layer type.
TEST(ConfigKeys, ParametersByLayerTypeAreThoseOfTheType) {
  const auto text = [](const std::string& member) { return parse("gemma3_text", member); };
  EXPECT_EQ(text(R"("rope_parameters":{"rope_type":"default","rope_theta":500})").full.rotary,
            text("").full.rotary);
  const ModelConfig nested = text(R"("rope_parameters":{"full_attention":{"rope_theta":500}})");
  EXPECT_EQ(nested.full.rotary, text(R"("rope_theta":500)").full.rotary);
  EXPECT_EQ(nested.sliding.rotary, text("").sliding.rotary);
}

}  // namespace
}  // namespace attnsym
