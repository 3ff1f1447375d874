"""Tiny models of every family and every class of it, as keyword arguments of the reference library's configurations."""

_ENCODER = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 20}
_TEXT = {**_ENCODER, "vocab_size": 24, "max_position_embeddings": 64}
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_ROTARY = {**_TEXT, **_TOKENS, "hidden_size": 32}
_GROUPED = {**_ROTARY, "num_key_value_heads": 2}
_GEMMA = {**_GROUPED, "head_dim": 8}
_GEMMA2 = {**_GEMMA, "sliding_window": 5, "query_pre_attn_scalar": 12}
_GPT2 = {"n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 20, "vocab_size": 24, **_TOKENS}
_BLOOM = {"hidden_size": 24, "n_layer": 2, "n_head": 4, "vocab_size": 24, **_TOKENS}
_FALCON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 24, "ffn_hidden_size": 20,
           "max_position_embeddings": 64, **_TOKENS}
_VISION = {**_ENCODER, "image_size": 8, "patch_size": 2, "num_channels": 3}
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
_LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
           "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
_LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 1.0,
             "short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [1.0, 2.0, 4.0, 7.0],
             "original_max_position_embeddings": 32}
_GEMMA3_ROPE = {"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}}

# By name: the model_type of the configuration, the class of the model, what its configuration is given.
BASES = {
    "bert": ("bert", "BertForMaskedLM", _TEXT),
    "bert-base": ("bert", "BertModel", _TEXT),
    "bloom": ("bloom", "BloomForCausalLM", _BLOOM),
    "falcon-multi-query": ("falcon", "FalconForCausalLM", _FALCON),
    "falcon-multi-query-alibi": ("falcon", "FalconForCausalLM", {**_FALCON, "alibi": True}),
    "falcon-grouped": ("falcon", "FalconForCausalLM",
                       {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-grouped-alibi": ("falcon", "FalconForCausalLM",
                             {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2, "alibi": True}),
    "falcon-per-head": ("falcon", "FalconForCausalLM",
                        {**_FALCON, "multi_query": False, "parallel_attn": False, "bias": True}),
    "falcon-per-head-alibi": ("falcon", "FalconForCausalLM",
                              {**_FALCON, "multi_query": False, "parallel_attn": False, "alibi": True}),
    "gemma": ("gemma", "GemmaForCausalLM", {**_GEMMA, "num_key_value_heads": 1}),
    "gemma2": ("gemma2", "Gemma2ForCausalLM", {**_GEMMA2, "attn_logit_softcapping": 2.0}),
    "gemma3_text": ("gemma3_text", "Gemma3ForCausalLM",
                    {**_GEMMA2, "layer_types": ["sliding_attention", "full_attention"],
                     "rope_parameters": _GEMMA3_ROPE}),
    "gemma3": ("gemma3", "Gemma3ForConditionalGeneration",
               {"text_config": {**_GEMMA2, "layer_types": ["sliding_attention", "full_attention"],
                                "rope_parameters": _GEMMA3_ROPE},
                "vision_config": _VISION, "mm_tokens_per_image": 4, "image_token_index": 23, "boi_token_index": 21,
                "eoi_token_index": 22}),
    "gpt2": ("gpt2", "GPT2LMHeadModel", _GPT2),
    "gpt_neox": ("gpt_neox", "GPTNeoXForCausalLM",
                 {**_ROTARY, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
                                                 "partial_rotary_factor": 0.5}}),
    "llama": ("llama", "LlamaForCausalLM", _GROUPED),
    "llama-tied": ("llama", "LlamaForCausalLM", {**_GROUPED, "tie_word_embeddings": True}),
    "llama-biased": ("llama", "LlamaForCausalLM", {**_GROUPED, "attention_bias": True, "mlp_bias": True}),
    "llama-llama3": ("llama", "LlamaForCausalLM", {**_GROUPED, "rope_parameters": _LLAMA3}),
    "llama-dynamic": ("llama", "LlamaForCausalLM",
                      {**_GROUPED, "rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}}),
    "mistral": ("mistral", "MistralForCausalLM", {**_GROUPED, "sliding_window": 5}),
    "olmo2": ("olmo2", "Olmo2ForCausalLM", _GROUPED),
    "phi": ("phi", "PhiForCausalLM",
            {**_ROTARY, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0,
                                            "partial_rotary_factor": 0.5}}),
    "phi3": ("phi3", "Phi3ForCausalLM", _GROUPED),
    "phi3-longrope": ("phi3", "Phi3ForCausalLM",
                      {**_GROUPED, "original_max_position_embeddings": 32, "sliding_window": 40,
                       "rope_parameters": _LONGROPE}),
    "qwen2": ("qwen2", "Qwen2ForCausalLM", _GROUPED),
    "qwen2-yarn": ("qwen2", "Qwen2ForCausalLM",
                   {**_GROUPED, "use_sliding_window": True, "sliding_window": 5, "max_window_layers": 1,
                    "layer_types": ["full_attention", "sliding_attention"], "rope_parameters": _YARN}),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", {**_GROUPED, "head_dim": 12}),
    "roberta": ("roberta", "RobertaForMaskedLM", {**_TEXT, "max_position_embeddings": 66, "pad_token_id": 1}),
    "vit": ("vit", "ViTForImageClassification", {**_VISION, "encoder_stride": 2}),
    "vit-base": ("vit", "ViTModel", {**_VISION, "encoder_stride": 2}),
}

# Of every family all other classes, on the configuration of one of the models above.
CLASSES = {
    "bert": "BertForPreTraining BertLMHeadModel BertForNextSentencePrediction BertForSequenceClassification "
            "BertForMultipleChoice BertForTokenClassification BertForQuestionAnswering",
    "bloom": "BloomModel BloomForSequenceClassification BloomForTokenClassification BloomForQuestionAnswering",
    "falcon-multi-query": "FalconModel FalconForSequenceClassification FalconForTokenClassification "
                          "FalconForQuestionAnswering",
    "gemma": "GemmaModel GemmaForSequenceClassification GemmaForTokenClassification",
    "gemma2": "Gemma2Model Gemma2ForSequenceClassification Gemma2ForTokenClassification",
    "gemma3_text": "Gemma3TextModel Gemma3TextForSequenceClassification",
    "gemma3": "Gemma3Model Gemma3ForSequenceClassification",
    "gpt2": "GPT2Model GPT2DoubleHeadsModel GPT2ForSequenceClassification GPT2ForTokenClassification "
            "GPT2ForQuestionAnswering",
    "gpt_neox": "GPTNeoXModel GPTNeoXForSequenceClassification GPTNeoXForTokenClassification "
                "GPTNeoXForQuestionAnswering",
    "llama": "LlamaModel LlamaForSequenceClassification LlamaForQuestionAnswering LlamaForTokenClassification",
    "llama-tied": "LlamaModel",
    "mistral": "MistralModel MistralForSequenceClassification MistralForTokenClassification "
               "MistralForQuestionAnswering",
    "olmo2": "Olmo2Model Olmo2ForSequenceClassification",
    "phi": "PhiModel PhiForSequenceClassification PhiForTokenClassification",
    "phi3": "Phi3Model Phi3ForSequenceClassification Phi3ForTokenClassification",
    "qwen2": "Qwen2Model Qwen2ForSequenceClassification Qwen2ForTokenClassification Qwen2ForQuestionAnswering",
    "qwen3": "Qwen3Model Qwen3ForSequenceClassification Qwen3ForTokenClassification Qwen3ForQuestionAnswering",
    "roberta": "RobertaModel RobertaForCausalLM RobertaForSequenceClassification RobertaForMultipleChoice "
               "RobertaForTokenClassification RobertaForQuestionAnswering",
    "vit": "ViTForMaskedImageModeling",
}


def models():
    """Name, model_type, class and keyword arguments of every model; the bases come first."""
    for name, (kind, architecture, given) in BASES.items():
        yield name, kind, architecture, given
    for base, classes in CLASSES.items():
        kind, _, given = BASES[base]
        for architecture in classes.split():
            yield f"{base}:{architecture}", kind, architecture, given
