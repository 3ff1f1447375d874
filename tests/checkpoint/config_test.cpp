#include <cmath>
#include <string>
#include <vector>

#include "checkpoint/layout.hpp"
#include "checkpoint/model_config.hpp"
#include "checkpoint/shard_index.hpp"
#include "checkpoint/strict_json.hpp"
#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"

namespace attnsym {
namespace {

using testing::expect_error;

// A sound BERT config with one more member, which wins over none of the others: a key may occur only once.
std::string bert_with(const std::string& member, const std::string& without = "") {
  std::string text = "{" + member;
  for (const std::string key : {"num_hidden_layers", "hidden_size", "num_attention_heads"}) {
    if (key != without) text += ",\"" + key + "\":12";
  }
  return text + (without == "model_type" ? "}" : ",\"model_type\":\"bert\"}");
}

ModelConfig parse(const std::string& text) { return parse_model_config(text, "dir/config.json").config; }

TEST(ModelConfig, ReadsBert) {
  const ModelConfig config = parse(
      R"({"model_type":"bert","num_hidden_layers":6,"hidden_size":384,"num_attention_heads":12,"vocab_size":30522,
          "position_embedding_type":"absolute","hidden_act":"gelu"})");
  EXPECT_EQ(config.model_type, "bert");
  EXPECT_EQ(config.layers, 6);
  EXPECT_EQ(config.hidden_size, 384);
  EXPECT_EQ(config.heads, 12);
  EXPECT_EQ(config.kv_heads, 12);
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_FALSE(config.full.causal);
}

TEST(ModelConfig, ReadsWhatIsOptional) {
  const ModelConfig config = parse(
      R"({"model_type":"llama","num_hidden_layers":1,"hidden_size":12,"num_attention_heads":4,
          "num_key_value_heads":2,"head_dim":8})");
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_TRUE(config.full.causal);
  EXPECT_TRUE(parse(bert_with(R"("is_decoder":true)")).full.causal);
}

TEST(ModelConfig, TakesNullForAbsent) {
  const ModelConfig config = parse(bert_with(
      R"("head_dim":null,"num_key_value_heads":null,"quantization_config":null,"add_cross_attention":false)"));
  EXPECT_EQ(config.head_dim, 1);
  EXPECT_EQ(config.kv_heads, 12);
}

// As in transformers: a missing key takes the default of the class, null means that there is none.
TEST(ModelConfig, TellsNullFromAbsentWhereTheFamilyHasADefault) {
  const std::string sizes =
      R"({"model_type":"mistral","num_hidden_layers":1,"hidden_size":64,"num_attention_heads":16)";
  EXPECT_EQ(parse(sizes + "}").kv_heads, 8);
  EXPECT_EQ(parse(sizes + "}").scores(0).window, 4096);
  EXPECT_EQ(parse(sizes + R"(,"num_key_value_heads":null,"sliding_window":null})").kv_heads, 16);
  EXPECT_EQ(parse(sizes + R"(,"num_key_value_heads":null,"sliding_window":null})").scores(0).window, 0);
}

// A name that is null is none: it takes the family's default.
TEST(ModelConfig, TakesNullForTheDefaultOfAName) {
  const std::string gemma = R"({"model_type":"gemma2","num_hidden_layers":1,"hidden_activation":)";
  EXPECT_EQ(parse(gemma + "null,\"hidden_size\":64,\"num_attention_heads\":16}").outside->activation,
            "gelu_pytorch_tanh");
  EXPECT_EQ(parse(gemma + "\"relu\",\"hidden_size\":64,\"num_attention_heads\":16}").outside->activation,
            "relu");
}

TEST(ModelConfig, ReadsPadding) {
  const auto padding = [](const std::string& more) {
    return parse(R"({"model_type":"roberta","num_hidden_layers":1,"hidden_size":8,"num_attention_heads":4)" +
                 more + "}")
        .outside->padding;
  };
  EXPECT_EQ(padding(""), 1);
  EXPECT_EQ(padding(R"(,"pad_token_id":0)"), 0);
  expect_error<FormatError>([&] { padding(R"(,"pad_token_id":-1)"); }, {"'pad_token_id' is '-1'", "from 0"});
  expect_error<FormatError>([&] { padding(R"(,"pad_token_id":null)"); }, {"'pad_token_id' is missing"});
}

TEST(ModelConfig, KnowsWhichLayersHaveAWindow) {
  const std::string sizes = R"("hidden_size":64,"num_attention_heads":16,"head_dim":4,"sliding_window":3)";
  const auto windows = [](const ModelConfig& config) {
    std::vector<Index> result;
    for (Index layer = 0; layer < config.layers; ++layer) result.push_back(config.scores(layer).window);
    return result;
  };
  using Windows = std::vector<Index>;
  EXPECT_EQ(windows(parse(R"({"model_type":"gemma2","num_hidden_layers":3,)" + sizes + "}")),
            (Windows{3, 0, 3}));
  EXPECT_EQ(windows(parse(R"({"model_type":"gemma2","num_hidden_layers":2,"layer_types":["full_attention",
                              "sliding_attention"],)" +
                          sizes + "}")),
            (Windows{0, 3}));
  EXPECT_EQ(windows(parse(R"({"model_type":"qwen2","num_hidden_layers":3,"use_sliding_window":true,
                              "max_window_layers":1,"num_key_value_heads":4,)" +
                          sizes + "}")),
            (Windows{0, 3, 3}));
  EXPECT_EQ(windows(parse(R"({"model_type":"qwen2","num_hidden_layers":2,"use_sliding_window":true,
                              "max_window_layers":0,"num_key_value_heads":4,)" +
                          sizes + "}")),
            (Windows{3, 3}));
  EXPECT_EQ(
      windows(parse(R"({"model_type":"qwen2","num_hidden_layers":1,"num_key_value_heads":4,)" + sizes + "}")),
      (Windows{0}));
}

struct BadConfig {
  std::string text;
  std::vector<std::string> words;
};

TEST(ModelConfig, RefusesWithKeyAndReason) {
  const std::vector<BadConfig> table{
      {"", {"not valid JSON"}},
      {"{", {"not valid JSON"}},
      {"[]", {"expected a JSON object"}},
      {"null", {"expected a JSON object"}},
      {bert_with(R"("x":1)", "model_type"), {"'model_type' is missing", "qwen3, roberta"}},
      {bert_with(R"("model_type":"t5")", "model_type"), {"'t5'", "bert, bloom", "--layout"}},
      {bert_with(R"("model_type":7)", "model_type"), {"'model_type' is '7'", "a string"}},
      {bert_with(R"("x":1)", "hidden_size"), {"'hidden_size' is missing", "positive integer"}},
      {bert_with(R"("hidden_size":0)", "hidden_size"), {"'hidden_size' is '0'", "positive integer"}},
      {bert_with(R"("hidden_size":-3)", "hidden_size"), {"'-3'", "positive integer"}},
      {bert_with(R"("hidden_size":384.0)", "hidden_size"), {"'384.0'", "positive integer"}},
      {bert_with(R"("hidden_size":"384")", "hidden_size"), {"positive integer"}},
      {bert_with(R"("hidden_size":true)", "hidden_size"), {"'true'"}},
      {bert_with(R"("hidden_size":[384])", "hidden_size"), {"'[384]'"}},
      {bert_with(R"("hidden_size":2147483649)", "hidden_size"), {"2147483649", "2^31"}},
      {bert_with(R"("hidden_size":18446744073709551615)", "hidden_size"), {"18446744073709551615"}},
      {bert_with(R"("hidden_size":1e300)", "hidden_size"), {"positive integer"}},
      {bert_with(R"("hidden_size":13)", "hidden_size"), {"13 does not divide into 12 heads"}},
      {bert_with(R"("num_key_value_heads":5)"), {"'num_key_value_heads' is '5'", "expected 12"}},
      {bert_with(R"("head_dim":"wide")"), {"'head_dim'", "positive integer"}},
      {bert_with(R"("is_decoder":1)"), {"'is_decoder' is '1'", "true or false"}},
      {bert_with(R"("add_cross_attention":true)"), {"'add_cross_attention' is 'true'", "not supported"}},
      {bert_with(R"("is_encoder_decoder":true)"), {"'is_encoder_decoder' is 'true'", "not supported"}},
      {bert_with(R"("quantization_config":{"bits":8})"), {"'quantization_config' is", "not supported"}},
      {bert_with(R"("position_embedding_type":"relative_key")"),
       {"'relative_key'", "gauge", "not supported yet"}},
      {bert_with(R"("hidden_size":12)"), {"'hidden_size' occurs twice"}},
      {bert_with("\"x\":" + std::string(100000, '[')), {"deeper than 64"}},
      {"{\"model_type\":\"\xff\"}", {"not valid JSON"}},
  };
  for (const BadConfig& row : table) {
    SCOPED_TRACE(row.text.substr(0, 200));
    for (const std::string& word : row.words) {
      expect_error<FormatError>([&] { parse(row.text); }, {"dir/config.json: ", word});
    }
  }
}

// Sizes, under the keys that the table has, and what chooses it among those of its family.
std::string config_for(const std::string& family, const std::string& table) {
  const auto flag = [&](const char* comment) {
    return std::string(table.find(comment) != std::string::npos ? "true" : "false");
  };
  std::string members;
  for (const auto& [key, value] : {std::pair<std::string, std::string>{"num_hidden_layers", "2"},
                                   {"hidden_size", "48"},
                                   {"num_attention_heads", "6"},
                                   {"num_key_value_heads", "2"},
                                   {"head_dim", "8"},
                                   {"new_decoder_architecture", flag("grouped")},
                                   {"multi_query", flag("multi-query")},
                                   {"alibi", flag("ALiBi")}}) {
    const bool is_flag = value == "true" || value == "false";
    if (is_flag ? family == "falcon" : table.find("\"" + key + "\"") != std::string::npos)
      members += ",\"" + key + "\":" + value;
  }
  const std::string type = "\"model_type\":\"" + family + "\"";
  if (table.find("\"nested\"") == std::string::npos) return "{" + type + members + "}";
  return "{" + type + ",\"text_config\":{" + members.substr(1) + "}}";
}

// Every built-in table is one that a user could pass, and means the same then.
TEST(Layout, TablesOfFamiliesCanBePassedAsFiles) {
  for (const std::string& family : family_names()) {
    for (const std::string& table : family_tables(family)) {
      const std::string config = config_for(family, table);
      const ParsedConfig built_in = parse_model_config(config, "config.json");
      const ParsedConfig passed = parse_model_config(config, "config.json", table, "layout.json");
      EXPECT_EQ(built_in.layout.query.weight, passed.layout.query.weight) << family;
      EXPECT_EQ(built_in.config.kv_heads, passed.config.kv_heads) << family;
      EXPECT_EQ(built_in.config.full.rotary, passed.config.full.rotary) << family;
    }
  }
}

TEST(Layout, RefusesTablesThatSayTooLittleOrTooMuch) {
  const std::string config = R"({"model_type":"mine","l":1,"d":4,"h":2})";
  const std::string sizes = R"("model_type":"mine","sizes":{"layers":"l","hidden_size":"d","heads":"h"})";
  const std::string maps =
      R"("query":"{layer}.q","key":"{layer}.k","value":"{layer}.v","output":"{layer}.o")";
  const auto read = [&](const std::string& table) {
    return parse_model_config(config, "config.json", "{" + table + "}", "layout.json").config;
  };
  EXPECT_EQ(read(sizes + "," + maps).heads, 2);
  const std::vector<BadConfig> table{
      {R"("model_type":"mine",)" + maps, {"'sizes' is missing"}},
      {sizes, {"'query'", "{layer}"}},
      {sizes + "," + maps + R"(,"quary":1)", {"'quary'", "means nothing", "query"}},
      {sizes + R"(,"query":"q","key":"k","value":"v","output":"o")", {"'query' is", "{layer}"}},
      {sizes + "," + maps + R"(,"packing":"odd")", {"'packing'", "separate, concatenated, per_group"}},
      {sizes + "," + maps + R"(,"positions":{"kind":"rope"})", {"'kind'", "none, rotary, alibi"}},
      {sizes + "," + maps + R"(,"prefixes":[])", {"'prefixes'", "at least one"}},
  };
  for (const BadConfig& row : table) {
    SCOPED_TRACE(row.text);
    for (const std::string& word : row.words) {
      expect_error<FormatError>([&] { read(row.text); }, {"layout.json: ", word});
    }
  }
}

struct RopeCase {
  std::string scaling;
  double first;  // frequencies of pairs 0 and 3 of 4, base 10000, trained on 64 positions
  double last;
  double gain;
};

// By hand from the definitions: wavelengths are 6.28 and 6283, and 64 positions are trained.
TEST(RotaryConfig, ScalesFrequencies) {
  const std::vector<RopeCase> cases{
      {R"(null)", 1, 1e-3, 1},
      {R"({"rope_type":"linear","factor":4})", 0.25, 2.5e-4, 1},
      {R"({"type":"dynamic","factor":4})", 1, 1e-3, 1},
      {R"({"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4})", 1, 1.25e-4, 1},
      {R"({"type":"yarn","factor":4})", 1, 2.5e-4, 0.1 * std::log(4.0) + 1},
      {R"({"type":"longrope","short_factor":[1,1,1,2],"long_factor":[1,1,1,2],"factor":4})", 1, 5e-4,
       std::sqrt(1 + std::log(4.0) / std::log(64.0))},
  };
  for (const RopeCase& row : cases) {
    const ModelConfig config = parse(
        R"({"model_type":"llama","num_hidden_layers":1,"hidden_size":16,"num_attention_heads":2,
            "max_position_embeddings":64,"rope_scaling":)" +
        row.scaling + "}");
    const Rotary& rotary = config.full.rotary;
    ASSERT_EQ(rotary.pairs(), 4) << row.scaling;
    EXPECT_NEAR(rotary.frequencies.front(), row.first, 1e-15) << row.scaling;
    EXPECT_NEAR(rotary.frequencies.back(), row.last, 1e-15) << row.scaling;
    EXPECT_NEAR(rotary.gain, row.gain, 1e-15) << row.scaling;
  }
}

TEST(Layout, NamesTensorsOfEveryFamily) {
  for (const std::string model_type : {"bert", "roberta"}) {
    const Layout layout =
        parse_model_config(bert_with("\"model_type\":\"" + model_type + "\"", "model_type"), "config.json")
            .layout;
    EXPECT_EQ(tensor_name(model_type + ".", layout.key.bias, 11),
              model_type + ".encoder.layer.11.attention.self.key.bias");
    EXPECT_EQ(tensor_name("", layout.norm.gains[0], 3), "encoder.layer.2.output.LayerNorm.weight");
    EXPECT_EQ(tensor_name("", layout.first_norm.biases[1], 0), "embeddings.LayerNorm.beta");
  }
}

TEST(Layout, FindsTheLayerInATensorName) {
  const std::string pattern = "encoder.layer.{layer}.attention.self.query.weight";
  for (const Index layer : {0, 7, 12}) {
    EXPECT_EQ(layer_of(tensor_name("bert.", pattern, layer), "bert.", pattern), layer);
  }
  for (const char* other :
       {"", "bert.encoder.layer.", "bert.encoder.layer.x.attention.self.query.weight",
        "bert.encoder.layer.07.attention.self.query.weight", "bert.encoder.layer.7.attention.self.key.weight",
        "encoder.layer.7.attention.self.query.weight"}) {
    EXPECT_EQ(layer_of(other, "bert.", pattern), std::nullopt) << other;
  }
}

ShardIndex index_of(const std::string& weight_map) {
  return parse_shard_index("{\"metadata\":{},\"weight_map\":" + weight_map + "}", "index.json");
}

TEST(ShardIndex, ReadsTheWeightMap) {
  const ShardIndex index = index_of(R"({"a":"one.safetensors","b":"./sub/two.safetensors"})");
  EXPECT_EQ(index.at("a"), "one.safetensors");
  EXPECT_EQ(index.at("b"), "sub/two.safetensors");
}

TEST(ShardIndex, RefusesFilesOutsideTheDirectory) {
  for (const char* file :
       {"../other.safetensors", "/etc/passwd", "sub/../../x", "", "sub/", "..", "a\\u0000b"}) {
    expect_error<FormatError>([&] { index_of(std::string(R"({"a":")") + file + "\"}"); },
                              {"index.json", "'a'", "not a file inside"});
  }
}

TEST(ShardIndex, RefusesOtherShapes) {
  for (const char* map : {"[]", "null", "3"}) {
    expect_error<FormatError>([&] { index_of(map); }, {"index.json", "'weight_map'"});
  }
  expect_error<FormatError>([] { index_of("{}"); }, {"empty"});
  expect_error<FormatError>([] { index_of(R"({"a":1})"); }, {"'a'", "not a string"});
  expect_error<FormatError>([] { index_of(R"({"a":"x","a":"y"})"); }, {"'a' occurs twice"});
  expect_error<FormatError>([] { parse_shard_index("{}", "index.json"); }, {"'weight_map' is missing"});
}

TEST(ShardIndex, TotalSizeIsReplacedAndNothingElse) {
  const std::string old = R"({"metadata":{"note":"x","total_size":8},"weight_map":{"b":"f","a":"f"}})";
  const std::string updated = with_total_size(old, 1234);
  EXPECT_NE(updated.find("\"total_size\": 1234"), std::string::npos);
  EXPECT_NE(updated.find("\"note\": \"x\""), std::string::npos);
  EXPECT_LT(updated.find("\"b\""), updated.find("\"a\"")) << "the order of keys is kept";
  const std::string without = R"({"weight_map":{"a":"f"}})";
  EXPECT_EQ(with_total_size(without, 1234), without);
}

TEST(StrictJson, RefusesEqualKeysAtEveryLevelButNotElsewhere) {
  require_strict_json(R"({"a":{"k":1},"b":{"k":2},"c":[{"k":1},{"k":1}]})", "x");
  expect_error<FormatError>([] { require_strict_json(R"([{"a":{"b":1,"b":1}}])", "x"); },
                            {"x: ", "'b' occurs twice"});
  require_strict_json(std::string(64, '[') + std::string(64, ']'), "x");
  expect_error<FormatError>([] { require_strict_json(std::string(65, '[') + std::string(65, ']'), "x"); },
                            {"deeper"});
}

}  // namespace
}  // namespace attnsym
