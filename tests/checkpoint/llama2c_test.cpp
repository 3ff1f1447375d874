#include "checkpoint/llama2c.hpp"

#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"
#include "tests/checkpoint/temporary_directory.hpp"

namespace attnsym {
namespace {

using testing::expect_error;

// dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
using Header = std::array<std::int32_t, 7>;

constexpr Header small{8, 6, 2, 4, 2, 5, 3};

std::vector<std::byte> file_of(const Header& header, std::size_t floats) {
  std::vector<std::byte> file(sizeof header + floats * sizeof(float));
  std::memcpy(file.data(), header.data(), sizeof header);
  return file;
}

// Embedding; two norms, four projections and three matrices of the MLP per layer; the last norm; dead tables.
constexpr std::size_t floats_of_small = 5 * 8 + 2 * (8 + 64 + 32 + 32 + 64 + 8 + 3 * 48) + 8 + 2 * 3 * 1;

TEST(Llama2c, PutsTensorsWhereTheFormatHasThem) {
  const ForeignModel model = read_llama2c(file_of(small, floats_of_small), "model.bin");
  const auto& tensors = model.table.tensors;
  ASSERT_EQ(tensors.size(), 2U + 2 * 9);
  EXPECT_EQ(tensors[0].name, "model.embed_tokens.weight");
  EXPECT_EQ(tensors[0].shape, (std::vector<std::int64_t>{5, 8}));
  EXPECT_EQ(tensors[2].name, "model.layers.1.input_layernorm.weight");
  EXPECT_EQ(tensors[3].begin, 4 * (5 * 8 + 2 * 8U));
  EXPECT_EQ(tensors[5].name, "model.layers.0.self_attn.k_proj.weight");
  EXPECT_EQ(tensors[5].shape, (std::vector<std::int64_t>{4, 8}));
  EXPECT_EQ(tensors.back().name, "model.norm.weight");
  EXPECT_EQ(model.pairs, PairLayout::Interleaved);
  EXPECT_EQ(model.table.data_offset, 28U);
}

TEST(Llama2c, ANegativeVocabularyHasAHeadOfItsOwn) {
  Header untied = small;
  untied[5] = -5;
  const ForeignModel model = read_llama2c(file_of(untied, floats_of_small + 40), "model.bin");
  EXPECT_EQ(model.table.tensors.back().name, "lm_head.weight");
  EXPECT_EQ(model.table.tensors.back().end, 4 * (floats_of_small + 40));
  EXPECT_NE(model.config.find("\"tie_word_embeddings\": false"), std::string::npos);
}

TEST(Llama2c, TruncationIsRefusedAtEveryByte) {
  const std::vector<std::byte> file = file_of(small, floats_of_small);
  for (std::size_t size = 0; size < file.size(); ++size) {
    const std::vector<std::byte> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    expect_error<FormatError>([&] { read_llama2c(cut, "cut.bin"); }, {"cut.bin"});
  }
  std::vector<std::byte> longer = file;
  longer.resize(file.size() + 1);
  expect_error<FormatError>([&] { read_llama2c(longer, "long.bin"); },
                            {"long.bin", "the sizes in its header take"});
}

TEST(Llama2c, SizesOfNoModelAreRefused) {
  constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();
  const auto with = [](std::size_t place, std::int32_t value) {
    Header header = small;
    header[place] = value;
    return [header] { read_llama2c(file_of(header, floats_of_small), "odd.bin"); };
  };
  expect_error<FormatError>(with(0, 0), {"odd.bin", "dim is 0"});
  expect_error<FormatError>(with(1, -6), {"hidden_dim is -6"});
  expect_error<FormatError>(with(2, most), {"2147483647 layers do not fit"});
  expect_error<FormatError>(with(3, 3), {"dim 8 does not divide into 3 heads"});
  expect_error<FormatError>(with(3, 8), {"8 heads of even width"});
  expect_error<FormatError>(with(4, 3), {"n_kv_heads 3 does not divide the 4 heads"});
  expect_error<FormatError>(with(5, 0), {"vocab_size is 0"});
  expect_error<FormatError>(with(5, std::numeric_limits<std::int32_t>::min()), {"reaches beyond the file"});
  expect_error<FormatError>(with(6, -1), {"seq_len is -1"});
  expect_error<FormatError>(with(6, most), {"reaches beyond the file"});
  expect_error<FormatError>(with(1, most), {"reaches beyond the file"});
  expect_error<FormatError>(with(1, 7), {"reaches beyond the file"});
}

TEST(Llama2c, OtherFormatsAreNamed) {
  std::vector<std::byte> file(300);
  std::memcpy(file.data(), "PK\x03\x04", 4);
  expect_error<FormatError>([&] { read_llama2c(file, "pytorch_model.bin"); },
                            {"zip archive, as PyTorch writes"});
  constexpr std::array<std::int32_t, 2> version_2{0x616b3432, 2};
  std::memcpy(file.data(), version_2.data(), sizeof version_2);
  EXPECT_TRUE(is_llama2c(file, "model"));
  expect_error<FormatError>([&] { read_llama2c(file, "model"); }, {"version 2, quantised"});
}

TEST(Llama2c, AFileOfVersion1MayBeCutAnywhere) {
  std::vector<std::byte> file(256 + 4 * (floats_of_small - 6));
  constexpr std::array<std::int32_t, 2> version_1{0x616b3432, 1};
  std::memcpy(file.data(), version_1.data(), sizeof version_1);
  std::memcpy(file.data() + 8, small.data(), sizeof small);
  file[36] = std::byte{1};
  EXPECT_EQ(read_llama2c(file, "model").table.data_offset, 256U);
  for (std::size_t size = 0; size < file.size(); ++size) {
    const std::vector<std::byte> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    expect_error<FormatError>([&] { read_llama2c(cut, "cut"); }, {"cut"});
  }
}

TEST(Llama2c, AnOpenFileIsACheckpointUnderTheNamesOfHuggingFace) {
  const testing::TemporaryDirectory directory;
  testing::write_bytes(directory / "model.bin", file_of(small, floats_of_small));
  const Checkpoint checkpoint = Checkpoint::open(directory / "model.bin");
  ASSERT_TRUE(checkpoint.foreign());
  EXPECT_FALSE(checkpoint.is_directory());
  EXPECT_EQ(checkpoint.prefix(), "model.");
  EXPECT_EQ(checkpoint.config().kv_heads, 2);
  EXPECT_TRUE(checkpoint.find("model.layers.1.self_attn.o_proj.weight"));
}

}  // namespace
}  // namespace attnsym
