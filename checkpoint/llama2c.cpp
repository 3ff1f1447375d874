#include "checkpoint/llama2c.hpp"

#include <nlohmann/json.hpp>

#include "checkpoint/byte_reader.hpp"
#include "checkpoint/printable.hpp"

namespace attnsym {
namespace {

constexpr std::uint32_t magic = 0x616b3432;  // "ak42"
constexpr std::size_t header_of_version_1 = 256;

struct Sizes {
  std::int64_t width = 0, hidden = 0, layers = 0, heads = 0, groups = 0, words = 0, positions = 0;
  bool shares_classifier = true;

  std::int64_t head_width() const { return width / heads; }
};

std::uint32_t first_word(std::span<const std::byte> file) {
  std::uint32_t word = 0;
  if (file.size() >= sizeof word) std::memcpy(&word, file.data(), sizeof word);
  return word;
}

class Llama2cReader {
 public:
  Llama2cReader(std::span<const std::byte> file, std::string_view name)
      : file_(file), reader_(file, name), is_versioned_(first_word(file) == magic) {}

  ForeignModel read() {
    refuse_archive();
    if (is_versioned_) read_version();
    read_sizes();
    model_.format = "llama2.c";
    model_.pairs = PairLayout::Interleaved;
    model_.table.data_offset = reader_.position();
    is_versioned_ ? place_norms_first() : place_in_first_order();
    require_whole_file();
    write_config();
    return std::move(model_);
  }

 private:
  // The files of PyTorch have the same ending.
  void refuse_archive() const {
    if (first_word(file_) == 0x04034b50)
      reader_.fail("is a zip archive, as PyTorch writes them, not a file of llama2.c");
  }

  void read_version() {
    reader_.skip(sizeof magic, "the magic number");
    const auto version = reader_.number<std::int32_t>("the version");
    if (version == 1) return;
    reader_.fail("is of version " + std::to_string(version) + (version == 2 ? ", quantised" : "") +
                 "; only float32 files of llama2.c can be read, the first format and version 1");
  }

  std::int64_t size(const char* what) {
    const std::int64_t found = reader_.number<std::int32_t>(what);
    if (found < 1)
      reader_.fail(std::string(what) + " is " + std::to_string(found) + ", expected a positive number");
    return found;
  }

  void read_sizes() {
    sizes_.width = size("dim");
    sizes_.hidden = size("hidden_dim");
    sizes_.layers = size("n_layers");
    sizes_.heads = size("n_heads");
    sizes_.groups = size("n_kv_heads");
    sizes_.words = reader_.number<std::int32_t>("vocab_size");
    sizes_.positions = size("seq_len");
    if (is_versioned_) {
      sizes_.shares_classifier = reader_.number<std::uint8_t>("shared_classifier") != 0;
    } else if (sizes_.words < 0) {  // how the first format says it
      sizes_.shares_classifier = false;
      sizes_.words = -sizes_.words;
    }
    if (sizes_.words < 1)
      reader_.fail("vocab_size is " + std::to_string(sizes_.words) + ", expected another number");
    require_heads();
    if (is_versioned_) reader_.skip(header_of_version_1 - reader_.position(), "the header");
    if (static_cast<std::uint64_t>(sizes_.layers) > file_.size())
      reader_.fail(std::to_string(sizes_.layers) + " layers do not fit into the file of " +
                   std::to_string(file_.size()) + " bytes");
  }

  void require_heads() const {
    if (sizes_.width % sizes_.heads != 0 || sizes_.head_width() % 2 != 0)
      reader_.fail("dim " + std::to_string(sizes_.width) + " does not divide into " +
                   std::to_string(sizes_.heads) + " heads of even width");
    if (sizes_.heads % sizes_.groups != 0)
      reader_.fail("n_kv_heads " + std::to_string(sizes_.groups) + " does not divide the " +
                   std::to_string(sizes_.heads) + " heads");
  }

  void advance(const std::vector<std::int64_t>& shape) {
    const std::optional<std::size_t> bytes = byte_count(Dtype::F32, shape);
    const std::size_t left = file_.size() - model_.table.data_offset;
    if (!bytes || *bytes > left - end_)
      reader_.fail("shape " + shape_text(shape) +
                   " of F32, by the sizes in the header, reaches beyond the file of " +
                   std::to_string(file_.size()) + " bytes");
    end_ += *bytes;
  }

  void place(const std::string& name, std::vector<std::int64_t> shape) {
    const std::size_t begin = end_;
    advance(shape);
    model_.table.tensors.push_back({name, Dtype::F32, std::move(shape), begin, end_});
  }

  // One tensor after the other for all layers.
  void place_layers(const std::string& module, const std::vector<std::int64_t>& shape) {
    for (std::int64_t layer = 0; layer < sizes_.layers; ++layer)
      place("model.layers." + std::to_string(layer) + "." + module + ".weight", shape);
  }

  void place_attention() {
    const std::int64_t shared = sizes_.groups * sizes_.head_width();
    place_layers("self_attn.q_proj", {sizes_.width, sizes_.width});
    place_layers("self_attn.k_proj", {shared, sizes_.width});
    place_layers("self_attn.v_proj", {shared, sizes_.width});
    place_layers("self_attn.o_proj", {sizes_.width, sizes_.width});
  }

  void place_mlp() {
    place_layers("mlp.gate_proj", {sizes_.hidden, sizes_.width});
    place_layers("mlp.down_proj", {sizes_.width, sizes_.hidden});
    place_layers("mlp.up_proj", {sizes_.hidden, sizes_.width});
  }

  void place_head() {
    if (!sizes_.shares_classifier) place("lm_head.weight", {sizes_.words, sizes_.width});
  }

  void place_in_first_order() {
    place("model.embed_tokens.weight", {sizes_.words, sizes_.width});
    place_layers("input_layernorm", {sizes_.width});
    place_attention();
    place_layers("post_attention_layernorm", {sizes_.width});
    place_mlp();
    place("model.norm.weight", {sizes_.width});
    advance({2, sizes_.positions, sizes_.head_width() / 2});  // cosines and sines, not used
    place_head();
  }

  void place_norms_first() {
    place_layers("input_layernorm", {sizes_.width});
    place_layers("post_attention_layernorm", {sizes_.width});
    place("model.norm.weight", {sizes_.width});
    place("model.embed_tokens.weight", {sizes_.words, sizes_.width});
    place_attention();
    place_mlp();
    place_head();
  }

  void require_whole_file() const {
    const std::size_t expected = model_.table.data_offset + end_;
    if (expected != file_.size())
      reader_.fail("has " + std::to_string(file_.size()) + " bytes, but the sizes in its header take " +
                   std::to_string(expected));
  }

  void write_config() {
    const nlohmann::ordered_json config{{"architectures", {"LlamaForCausalLM"}},
                                        {"model_type", "llama"},
                                        {"num_hidden_layers", sizes_.layers},
                                        {"hidden_size", sizes_.width},
                                        {"intermediate_size", sizes_.hidden},
                                        {"num_attention_heads", sizes_.heads},
                                        {"num_key_value_heads", sizes_.groups},
                                        {"vocab_size", sizes_.words},
                                        {"max_position_embeddings", sizes_.positions},
                                        {"rms_norm_eps", 1e-5},
                                        {"rope_theta", 10000.0},
                                        {"hidden_act", "silu"},
                                        {"attention_bias", false},
                                        {"mlp_bias", false},
                                        {"tie_word_embeddings", sizes_.shares_classifier},
                                        {"torch_dtype", "float32"},
                                        {"bos_token_id", 1},
                                        {"eos_token_id", 2}};
    model_.config = config.dump(2) + "\n";
  }

  std::span<const std::byte> file_;
  ByteReader reader_;
  bool is_versioned_;
  Sizes sizes_;
  ForeignModel model_;
  std::size_t end_ = 0;  // of what has been placed, counted from the start of the data
};

}  // namespace

bool is_llama2c(std::span<const std::byte> file, std::string_view name) {
  return first_word(file) == magic || name.ends_with(".bin");
}

ForeignModel read_llama2c(std::span<const std::byte> file, std::string_view name) {
  return Llama2cReader(file, name).read();
}

}  // namespace attnsym
