#include <limits>
#include <string>
#include <vector>

#include "checkpoint/gguf.hpp"
#include "checkpoint/gguf_model.hpp"
#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"
#include "tests/checkpoint/raw_gguf.hpp"

namespace attnsym {
namespace {

using testing::expect_error;
using testing::Gguf;
using testing::RawGguf;

struct Malformed {
  const char* why;
  std::vector<std::byte> file;
  std::vector<const char*> words;  // that the message has to hold
};

constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();

RawGguf one_tensor(const std::vector<std::uint64_t>& extents, std::uint32_t type, std::uint64_t offset) {
  return RawGguf().counts(1, 0).tensor("a", extents, type, offset);
}

RawGguf two_tensors(std::uint64_t second, const char* name = "b") {
  return RawGguf().counts(2, 0).tensor("a", {8}, Gguf::f32, 0).tensor(name, {8}, Gguf::f32, second);
}

RawGguf one_pair(std::uint32_t type) { return RawGguf().counts(0, 1).name("key").u32(type); }

std::vector<Malformed> malformed() {
  return {
      {"Empty", {}, {"ends in the magic number"}},
      {"OtherMagic", std::vector<std::byte>(64, std::byte{1}), {"does not begin with 'GGUF'"}},
      {"Version1", RawGguf().u32(1).u64(0).u64(0).bytes(), {"version 1, expected 2 or 3"}},
      {"Version9", RawGguf().u32(9).u64(0).u64(0).bytes(), {"version 9"}},
      {"BigEndian", RawGguf().u32(0x03000000U).u64(0).u64(0).bytes(), {"big-endian"}},
      {"TensorsBeyondTheFile", RawGguf().counts(1000, 0).bytes(), {"1000 tensors do not fit"}},
      {"HugeTensorCount", RawGguf().counts(huge, 0).data(64).bytes(), {"tensors do not fit"}},
      {"HugePairCount", RawGguf().counts(0, huge).data(64).bytes(), {"pairs of metadata do not fit"}},
      {"LongKey", RawGguf().counts(0, 1).u64(70000).data(80000).bytes(), {"70000 bytes, expected at most"}},
      {"HugeKey", RawGguf().counts(0, 1).u64(huge).data(64).bytes(), {"a key of the metadata has a length"}},
      {"UnknownValueType", one_pair(13).data(64).bytes(), {"key 'key'", "unknown type 13"}},
      {"TextBeyondTheFile", one_pair(Gguf::text_value).u64(900).data(8).bytes(), {"key 'key'", "900 bytes"}},
      {"HugeText", one_pair(Gguf::text_value).u64(huge).data(8).bytes(), {"key 'key'", "at most"}},
      {"OddFlag",
       one_pair(Gguf::bool_value).number(std::uint8_t{2}).bytes(),
       {"key 'key'", "is 2, expected 0 or 1"}},
      {"HugeArray",
       one_pair(Gguf::array_value).u32(Gguf::u32_value).u64(huge / 4).bytes(),
       {"items, which do not fit"}},
      {"HugeArrayOfTexts",
       one_pair(Gguf::array_value).u32(Gguf::text_value).u64(huge / 8).bytes(),
       {"items, which do not fit"}},
      {"TextOfAnArrayBeyondTheFile",
       one_pair(Gguf::array_value).u32(Gguf::text_value).u64(1).u64(huge).data(8).bytes(),
       {"key 'key'", "ends in"}},
      {"ArrayOfArrays",
       one_pair(Gguf::array_value).u32(Gguf::array_value).u64(1).data(64).bytes(),
       {"key 'key'", "list of lists"}},
      {"DuplicateKey",
       RawGguf()
           .counts(0, 2)
           .name("k")
           .u32(Gguf::u32_value)
           .u32(1)
           .name("k")
           .u32(Gguf::u32_value)
           .u32(2)
           .bytes(),
       {"'k' occurs twice"}},
      {"DuplicateTensor", two_tensors(32, "a").data(64).bytes(), {"'a'", "occurs twice"}},
      {"FiveExtents", one_tensor({1, 1, 1, 1, 1}, Gguf::f32, 0).data(4).bytes(), {"'a'", "5 extents"}},
      {"ZeroExtent", one_tensor({0, 4}, Gguf::f32, 0).data(4).bytes(), {"'a'", "not positive: 0"}},
      {"NegativeExtent", one_tensor({huge}, Gguf::f32, 0).data(4).bytes(), {"'a'", "not positive: -1"}},
      {"OverflowingShape",
       one_tensor({1ULL << 40, 1ULL << 40}, Gguf::f32, 0).data(4).bytes(),
       {"'a'", "overflows"}},
      {"OverflowingBytes", one_tensor({1ULL << 62}, Gguf::f32, 0).data(4).bytes(), {"'a'", "overflows"}},
      {"UnknownType", one_tensor({32}, 4, 0).data(128).bytes(), {"'a'", "unknown type 4"}},
      {"UnknownHugeType",
       one_tensor({32}, 0xffffffffU, 0).data(128).bytes(),
       {"'a'", "unknown type 4294967295"}},
      {"BrokenBlocks",
       one_tensor({33}, Gguf::q8_0, 0).data(68).bytes(),
       {"'a'", "rows of 33", "blocks of 32"}},
      {"BrokenBlocksInRows", one_tensor({16, 2}, Gguf::q4_0, 0).data(18).bytes(), {"'a'", "rows of 16"}},
      {"BeyondTheFile",
       one_tensor({64}, Gguf::f32, 0).data(252).bytes(),
       {"'a'", "beyond the 252 bytes of data"}},
      {"FarBeyondTheFile", one_tensor({1ULL << 50}, Gguf::f32, 0).data(256).bytes(), {"'a'", "in a file of"}},
      {"HugeOffset", one_tensor({8}, Gguf::f32, huge - 31).data(256).bytes(), {"'a'", "in a file of"}},
      {"OffsetNotAligned", one_tensor({8}, Gguf::f32, 4).data(64).bytes(), {"'a'", "alignment of 32"}},
      {"HoleAtTheStart", one_tensor({8}, Gguf::f32, 32).data(64).bytes(), {"'a'", "hole"}},
      {"HoleBetween", two_tensors(64).data(96).bytes(), {"'b'", "hole"}},
      {"Overlap", two_tensors(0).data(64).bytes(), {"'b'", "overlaps"}},
      {"BytesAtTheEnd", one_tensor({8}, Gguf::f32, 0).data(96).bytes(), {"64 bytes after the last tensor"}},
      {"ZeroAlignment",
       RawGguf().counts(0, 1).name("general.alignment").u32(Gguf::u32_value).u32(0).bytes(),
       {"general.alignment"}},
      {"OddAlignment",
       RawGguf().counts(0, 1).name("general.alignment").u32(Gguf::u32_value).u32(12).bytes(),
       {"general.alignment"}},
      {"AlignmentNoPowerOfTwo",
       RawGguf().counts(0, 1).name("general.alignment").u32(Gguf::u32_value).u32(24).bytes(),
       {"general.alignment"}},
      {"HugeAlignment",
       RawGguf().counts(0, 1).name("general.alignment").u32(10).u64(huge - 7).bytes(),
       {"general.alignment"}},
      {"AlignmentIsText",
       RawGguf().counts(0, 1).name("general.alignment").u32(Gguf::text_value).name("32").bytes(),
       {"general.alignment"}},
  };
}

class MalformedGguf : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedGguf, IsRefusedWithFileAndReason) {
  expect_error<FormatError>([&] { parse_gguf_header(GetParam().file, "broken.gguf"); }, {"broken.gguf: "});
  for (const char* word : GetParam().words)
    expect_error<FormatError>([&] { parse_gguf_header(GetParam().file, "broken.gguf"); }, {word});
}

INSTANTIATE_TEST_SUITE_P(Table, MalformedGguf, ::testing::ValuesIn(malformed()),
                         [](const auto& row) { return row.param.why; });

// Every kind of value, an array, an alignment of its own, and two tensors out of order.
std::vector<std::byte> sound_file() {
  RawGguf file;
  file.counts(2, 5);
  file.name("general.alignment").u32(Gguf::u32_value).u32(64);
  file.name("small").u32(Gguf::u8_value).number(std::uint8_t{7});
  file.name("number").u32(Gguf::f32_value).number(1e-5F);
  file.name("flag").u32(Gguf::bool_value).number(std::uint8_t{1});
  file.name("list").u32(Gguf::array_value).u32(Gguf::text_value).u64(2).name("x").name("yz");
  file.tensor("second", {32, 2}, Gguf::q8_0, 64).tensor("first", {2, 3}, Gguf::f16, 0);
  return file.data(64 + 68, 64).bytes();
}

TEST(Gguf, IsReadWithTensorsInTheOrderOfTheirData) {
  const std::vector<std::byte> file = sound_file();
  const GgufHeader header = parse_gguf_header(file, "sound");
  EXPECT_EQ(std::get<std::uint64_t>(header.metadata.at("small")), 7U);
  EXPECT_EQ(std::get<double>(header.metadata.at("number")), 1e-5) << "the decimal number, not the float32";
  EXPECT_EQ(std::get<bool>(header.metadata.at("flag")), true);
  EXPECT_EQ(std::get<GgufArray>(header.metadata.at("list")).count, 2U);
  const auto& tensors = header.table.tensors;
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors[0].name, "first");
  EXPECT_EQ(tensors[0].shape, (std::vector<std::int64_t>{3, 2}));
  EXPECT_EQ(tensors[1].dtype, Dtype::Q8_0);
  EXPECT_EQ(tensors[1].shape, (std::vector<std::int64_t>{2, 32}));
  EXPECT_EQ(header.table.data_offset % 64, 0U);
  EXPECT_EQ(header.table.data_offset + tensors[1].end, file.size());
}

TEST(Gguf, TruncationIsRefusedAtEveryByte) {
  const std::vector<std::byte> file = sound_file();
  for (std::size_t size = 0; size < file.size(); ++size) {
    const std::vector<std::byte> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    expect_error<FormatError>([&] { parse_gguf_header(cut, "cut.gguf"); }, {"cut.gguf"});
  }
}

TEST(Gguf, MutationOfOneByteIsReadOrRefused) {
  const std::vector<std::byte> file = sound_file();
  const std::size_t header = parse_gguf_header(file, "sound").table.data_offset;
  int refused = 0;
  for (std::size_t at = 0; at < header; ++at) {
    for (int value = 0; value < 256; ++value) {
      std::vector<std::byte> mutant = file;
      mutant[at] = static_cast<std::byte>(value);
      try {
        const TensorTable table = parse_gguf_header(mutant, "mutant").table;
        for (const TensorInfo& tensor : table.tensors)
          EXPECT_LE(table.data_offset + tensor.end, mutant.size());
      } catch (const FormatError&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 10000);
}

TEST(Gguf, NamesCannotFloodOrControlTheTerminal) {
  RawGguf file;
  file.counts(1, 0).tensor("\x1b[2J" + std::string(60000, 'x'), {8}, 99, 0);
  try {
    parse_gguf_header(file.bytes(), "broken");
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_LT(std::string_view(error.what()).size(), 300U);
    EXPECT_EQ(std::string_view(error.what()).find('\x1b'), std::string_view::npos);
  }
}

TEST(GgufModel, NeedsItsArchitectureAndItsSizes) {
  const auto read = [](const RawGguf& file) { return [&file] { read_gguf_model(file.bytes(), "m.gguf"); }; };
  expect_error<FormatError>(read(RawGguf().counts(0, 0)), {"m.gguf", "general.architecture", "missing"});
  RawGguf nothing_more;
  nothing_more.counts(0, 1).name("general.architecture").u32(Gguf::text_value).name("llama");
  expect_error<FormatError>(read(nothing_more), {"m.gguf", "'llama.embedding_length' is missing"});
  RawGguf no_text;
  no_text.counts(0, 1).name("general.architecture").u32(Gguf::u32_value).u32(3);
  expect_error<FormatError>(read(no_text), {"m.gguf", "'general.architecture' is 3, expected a text"});
}

}  // namespace
}  // namespace attnsym
