#include "checkpoint/safetensors.hpp"

#include <cstring>
#include <string>

#include "checkpoint/safetensors_writer.hpp"
#include "symmetry/errors.hpp"
#include "tests/checkpoint/expect_error.hpp"
#include "tests/checkpoint/raw_safetensors.hpp"
#include "tests/checkpoint/temporary_directory.hpp"

namespace attnsym {
namespace {

using testing::expect_error;

NamedTensor tensor(std::string name, Dtype dtype, std::vector<std::int64_t> shape, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7 + name.size());
  return {std::move(name), dtype, std::move(shape), std::move(bytes)};
}

SafetensorsFile write_and_open(const testing::TemporaryDirectory& directory,
                               const std::vector<std::byte>& bytes) {
  testing::write_bytes(directory / "file.safetensors", bytes);
  return SafetensorsFile::open(directory / "file.safetensors");
}

TEST(SafetensorsFile, GivesTensorsInDataOrderWhateverTheHeaderOrder) {
  const testing::TemporaryDirectory directory;
  const SafetensorsFile file = write_and_open(
      directory, testing::raw_safetensors(R"({"late":{"shape":[2],"data_offsets":[4,8],"dtype":"F16"},)"
                                          R"("empty":{"dtype":"F32","shape":[0,9],"data_offsets":[4,4]},)"
                                          R"("scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   )",
                                          8));
  ASSERT_EQ(file.tensors().size(), 3U);
  EXPECT_EQ(file.tensors()[0].name, "scalar");
  EXPECT_EQ(file.tensors()[1].name, "empty");
  EXPECT_EQ(file.tensors()[2].name, "late");
  EXPECT_EQ(file.find("late"), &file.tensors()[2]);
  EXPECT_EQ(file.find("lat"), nullptr);
  EXPECT_EQ(file.bytes(file.tensors()[2]).size(), 4U);
  EXPECT_TRUE(file.metadata().empty());
}

// Numbers that nothing here reads: their file is one all the same. Four of six bits have three bytes.
TEST(SafetensorsFile, HasNumbersOfEverySize) {
  const testing::TemporaryDirectory directory;
  for (const auto& [dtype, bytes] : {std::pair{"C64", 64}, std::pair{"F8_E8M0", 8}, std::pair{"F4", 4},
                                     std::pair{"F6_E2M3", 6}, std::pair{"F6_E3M2", 6}}) {
    const std::string header =
        std::string(R"({"x":{"dtype":")") + dtype + R"(","shape":[2,4],"data_offsets":[0,)";
    const auto open = [&](int size) {
      return write_and_open(directory, testing::raw_safetensors(header + std::to_string(size) + "]}}",
                                                                static_cast<std::size_t>(size)));
    };
    EXPECT_EQ(open(bytes).tensors().front().size(), static_cast<std::size_t>(bytes)) << dtype;
    EXPECT_THROW(open(bytes + 1), FormatError) << dtype;
  }
}

TEST(SafetensorsWriter, RoundTripsThroughTheReader) {
  const testing::TemporaryDirectory directory;
  const std::vector<NamedTensor> tensors{
      tensor("odd", Dtype::U8, {3}, 3), tensor("b", Dtype::F32, {2, 2}, 16), tensor("a", Dtype::F32, {1}, 4),
      tensor("quote\"\n", Dtype::F64, {}, 8), tensor("\xc3\xa4", Dtype::BF16, {2, 0}, 0)};
  const std::map<std::string, std::string> metadata{{"format", "pt"}, {"note", "a \"b\"\n"}};
  const SafetensorsFile file = write_and_open(directory, serialize_safetensors(tensors, metadata));

  EXPECT_EQ(file.metadata(), metadata);
  EXPECT_EQ(file.header().data_offset % 8, 0U);
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (const NamedTensor& expected : tensors) {
    const TensorInfo* info = file.find(expected.name);
    ASSERT_NE(info, nullptr) << expected.name;
    EXPECT_EQ(info->dtype, expected.dtype);
    EXPECT_EQ(info->shape, expected.shape);
    EXPECT_EQ(info->begin % size_of(info->dtype), 0U);
    const auto bytes = file.bytes(*info);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), expected.bytes.begin(), expected.bytes.end()));
  }
  const std::vector<std::string> order{"quote\"\n", "a", "b", "\xc3\xa4", "odd"};
  for (std::size_t i = 0; i < order.size(); ++i) EXPECT_EQ(file.tensors()[i].name, order[i]);
}

TEST(SafetensorsWriter, WritesAFileWithoutTensors) {
  const testing::TemporaryDirectory directory;
  EXPECT_TRUE(write_and_open(directory, serialize_safetensors({}, {})).tensors().empty());
}

TEST(SafetensorsWriter, ReplacesBytesThatAreNotUtf8InMetadata) {
  const testing::TemporaryDirectory directory;
  const SafetensorsFile file = write_and_open(directory, serialize_safetensors({}, {{"path", "x\xff"}}));
  EXPECT_EQ(file.metadata().at("path"), "x\xef\xbf\xbd");
}

TEST(SafetensorsWriter, RefusesWhatItsReaderWould) {
  expect_error<ShapeError>([] { serialize_safetensors({tensor("a", Dtype::F32, {2}, 4)}, {}); },
                           {"'a'", "4 bytes", "[2]", "expected 8"});
  expect_error<FormatError>(
      [] {
        serialize_safetensors({tensor("a", Dtype::U8, {1}, 1), tensor("a", Dtype::U8, {1}, 1)}, {});
      },
      {"'a' is taken"});
  expect_error<FormatError>([] { serialize_safetensors({tensor("__metadata__", Dtype::U8, {1}, 1)}, {}); },
                            {"'__metadata__' is taken"});
}

}  // namespace
}  // namespace attnsym
