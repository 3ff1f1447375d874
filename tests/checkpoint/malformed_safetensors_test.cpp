#include <string>
#include <vector>

#include "checkpoint/safetensors.hpp"
#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"
#include "tests/checkpoint/raw_safetensors.hpp"
#include "tests/checkpoint/temporary_directory.hpp"

namespace attnsym {
namespace {

using testing::expect_error;
using testing::raw_safetensors;

struct Malformed {
  const char* why;
  std::string header;
  std::size_t data_size;
  const char* word;  // that the message has to hold
};

std::string repeated(const char* text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// A sound entry is {"dtype":"F32","shape":[2],"data_offsets":[0,8]}.
const std::vector<Malformed> malformed{
    {"EmptyHeader", "", 0, "does not start with '{'"},
    {"LeadingSpace", R"( {"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8,
     "does not start with '{'"},
    {"ArrayAtTheTop", R"([1])", 0, "does not start with '{'"},
    {"UnclosedObject", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})", 8, "not valid JSON"},
    {"TextAfterTheObject", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} x)", 8,
     "not valid JSON"},
    {"TwoObjects", R"({}{})", 0, "not valid JSON"},
    {"TrailingComma", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},})", 8, "not valid JSON"},
    {"InvalidUtf8", "{\"\xff\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
     "not valid JSON"},
    {"LoneSurrogate", R"({"\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8, "not valid JSON"},
    {"ZeroByte", std::string("{\0}", 3), 0, "not valid JSON"},
    {"DuplicateTensor",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})",
     16, "'a' occurs twice"},
    {"DuplicateField", R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8,
     "'dtype' occurs twice"},
    {"DuplicateMetadata", R"({"__metadata__":{"k":"1","k":"2"}})", 0, "'k' occurs twice"},
    {"MetadataTwice", R"({"__metadata__":{},"__metadata__":{}})", 0, "occurs twice"},
    {"MetadataNumber", R"({"__metadata__":{"k":1}})", 0, "must be a string"},
    {"MetadataNested", R"({"__metadata__":{"k":{}}})", 0, "must be a string"},
    {"MetadataList", R"({"__metadata__":[]})", 0, "must be an object"},
    {"MetadataNull", R"({"__metadata__":null})", 0, "must be an object"},
    {"EntryIsANumber", R"({"a":3})", 0, "must be an object"},
    {"EntryIsText", R"({"a":"F32"})", 0, "must be an object"},
    {"NoDtype", R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8, "dtype is missing"},
    {"NoShape", R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8, "shape is missing"},
    {"NoOffsets", R"({"a":{"dtype":"F32","shape":[2]}})", 8, "data_offsets is missing"},
    {"UnknownField", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"order":"C"}})", 8,
     "unknown field 'order'"},
    {"UnknownDtype", R"({"a":{"dtype":"F128","shape":[2],"data_offsets":[0,32]}})", 32,
     "unknown dtype 'F128'"},
    {"DtypeIsANumber", R"({"a":{"dtype":32,"shape":[2],"data_offsets":[0,8]}})", 8, "dtype must be a string"},
    {"DtypeIsAList", R"({"a":{"dtype":["F32"],"shape":[2],"data_offsets":[0,8]}})", 8,
     "dtype must be a string"},
    {"ShapeIsANumber", R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", 8,
     "shape must be an array"},
    {"ShapeIsNull", R"({"a":{"dtype":"F32","shape":null,"data_offsets":[0,8]}})", 8,
     "shape must be an array"},
    {"NegativeExtent", R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8, "a negative number"},
    {"FractionalExtent", R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8,
     "no 64 bit integer"},
    {"HugeExtent", R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}})", 8,
     "no 64 bit integer"},
    {"ExtentAboveSigned", R"({"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8]}})", 8,
     "9223372036854775808"},
    {"ExtentIsText", R"({"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})", 8,
     "shape must hold sizes"},
    {"NestedShape", R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8,
     "shape must hold sizes"},
    {"OverflowingShape", R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
     "overflows"},
    {"OverflowingBytes", R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0,
     "overflows"},
    {"OneOffset", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8]}})", 8,
     "must be two numbers, found 1"},
    {"ThreeOffsets", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}})", 8,
     "must be two numbers, found 3"},
    {"NegativeOffset", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", 8, "a negative number"},
    {"FractionalOffset", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8.5]}})", 8,
     "no 64 bit integer"},
    {"OffsetsTheWrongWayRound", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8,
     "after their end"},
    {"OffsetsDisagreeWithShape", R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8, "takes 12"},
    {"OffsetsDisagreeWithDtype", R"({"a":{"dtype":"F64","shape":[2],"data_offsets":[0,8]}})", 8, "takes 16"},
    {"HoleAtTheStart", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12, "hole"},
    {"HoleBetween",
     R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
     12, "hole"},
    {"Overlap",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
     12, "overlaps"},
    {"SameData",
     R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
     8, "overlaps"},
    {"BeyondTheFile", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4, "beyond the 4 bytes"},
    {"FarBeyondTheFile",
     R"({"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}})", 4,
     "beyond"},
    {"BytesAtTheEnd", R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 9,
     "1 bytes after the last tensor"},
    {"DataWithoutTensors", R"({})", 3, "3 bytes after the last tensor"},
    {"DeepArrays", R"({"a":)" + repeated("[", 200000), 0, "must be an object"},
    {"DeepObjects", R"({"a":)" + repeated(R"({"a":)", 200000), 0, "unknown field"},
    {"DeepShape", R"({"a":{"shape":)" + repeated("[", 200000), 0, "shape must hold sizes"},
};

class MalformedSafetensors : public ::testing::TestWithParam<Malformed> {};

TEST_P(MalformedSafetensors, IsRefusedWithFileAndReason) {
  const testing::TemporaryDirectory directory;
  const auto path = directory / "broken.safetensors";
  testing::write_bytes(path, raw_safetensors(GetParam().header, GetParam().data_size));
  expect_error<FormatError>([&] { SafetensorsFile::open(path); }, {path.string(), GetParam().word});
}

INSTANTIATE_TEST_SUITE_P(Table, MalformedSafetensors, ::testing::ValuesIn(malformed),
                         [](const auto& row) { return row.param.why; });

TEST(MalformedLength, IsRefused) {
  const std::string header = "{}";
  const auto parse = [&](std::uint64_t stated) {
    return [&, stated] { parse_safetensors_header(raw_safetensors(header, 0, stated), "broken"); };
  };
  expect_error<FormatError>(parse(3), {"broken", "beyond the file of 10 bytes"});
  expect_error<FormatError>(parse(1), {"broken", "not valid JSON"});
  expect_error<FormatError>(parse(0), {"broken", "does not start with '{'"});
  expect_error<FormatError>(parse(100'000'001), {"broken", "limit of 100000000"});
  expect_error<FormatError>(parse(~std::uint64_t{0}), {"broken", "limit"});
}

TEST(MalformedNames, CannotFloodOrControlTheTerminal) {
  const std::string name = R"(\u001b[2J)" + std::string(100000, 'x');
  const auto file = raw_safetensors("{\"" + name + "\":{}}", 0);
  try {
    parse_safetensors_header(file, "broken");
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_LT(std::string_view(error.what()).size(), 300U);
    EXPECT_EQ(std::string_view(error.what()).find('\x1b'), std::string_view::npos);
  }
}

std::vector<std::byte> sound_file() {
  return raw_safetensors(
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
      R"("b":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}} )",
      10);
}

TEST(Truncation, IsRefusedAtEveryByte) {
  const std::vector<std::byte> file = sound_file();
  EXPECT_EQ(parse_safetensors_header(file, "sound").tensors.size(), 2U);
  for (std::size_t size = 0; size < file.size(); ++size) {
    // A copy of this very size, so that a read beyond it is a read beyond the allocation.
    const std::vector<std::byte> cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(size));
    expect_error<FormatError>([&] { parse_safetensors_header(cut, "cut.safetensors"); }, {"cut.safetensors"});
  }
}

TEST(Mutation, OfOneByteIsReadOrRefused) {
  const std::vector<std::byte> file = sound_file();
  int refused = 0;
  for (std::size_t at = 0; at < file.size() - 10; ++at) {
    for (int value = 0; value < 256; ++value) {
      std::vector<std::byte> mutant = file;
      mutant[at] = static_cast<std::byte>(value);
      try {
        for (const TensorInfo& tensor : parse_safetensors_header(mutant, "mutant").tensors) {
          EXPECT_LE(tensor.end, 10U);
        }
      } catch (const FormatError&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 10000);
}

}  // namespace
}  // namespace attnsym
