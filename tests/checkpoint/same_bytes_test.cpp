// Equal bytes that are read in the same way are the same numbers.
#include "checkpoint/same_bytes.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "checkpoint/file.hpp"
#include "tests/checkpoint/temporary_directory.hpp"
#include "tests/checkpoint/tiny_bert.hpp"

namespace attnsym {
namespace {

using testing::TemporaryDirectory;
using testing::TinyBert;

bool all_same(const Checkpoint& a, const Checkpoint& b) {
  const SameBytes same(a, b);
  return same.attention(0) && same.attention(1);
}

// Puts a number into the middle of a tensor of attention.
void put(const std::filesystem::path& model, float number) {
  const Checkpoint checkpoint = Checkpoint::open(model);
  const StoredTensor tensor = checkpoint.find("encoder.layer.1.attention.self.value.weight").value();
  const std::size_t place = tensor.file->header().data_offset + tensor.info->begin + 5 * sizeof number;
  File::open_to_write(tensor.file->path()).write_at(place, std::as_bytes(std::span(&number, 1)));
}

TEST(SameBytes, OfCopiesHoweverTheyAreCut) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "a");
  TinyBert{}.write(directory / "copy");
  TinyBert{}.write_sharded(directory / "shards");
  TinyBert{.prefix = "bert."}.write(directory / "renamed");
  const Checkpoint a = Checkpoint::open(directory / "a");
  for (const char* name : {"a", "copy", "shards", "renamed"})
    EXPECT_TRUE(all_same(a, Checkpoint::open(directory / name))) << name;
}

TEST(SameBytes, OneNumberOrAnotherFormatIsNot) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "a");
  TinyBert{}.write(directory / "edited");
  TinyBert{.dtype = Dtype::F64}.write(directory / "finer");
  TinyBert{.biases = false}.write(directory / "unbiased");
  put(directory / "edited", 0.5F);
  const Checkpoint a = Checkpoint::open(directory / "a");
  for (const char* name : {"edited", "finer", "unbiased"})
    EXPECT_FALSE(all_same(a, Checkpoint::open(directory / name))) << name;
  const Checkpoint edited = Checkpoint::open(directory / "edited");
  EXPECT_TRUE(SameBytes(a, edited).attention(0));
  EXPECT_FALSE(SameBytes(a, edited).attention(1));
}

TEST(SameBytes, UnderAnotherConfigurationAreNot) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "a");
  TinyBert{}.write(directory / "b");
  const std::string config = testing::read_text(directory / "b/config.json");
  testing::write_text(directory / "b/config.json", config + " ");
  EXPECT_FALSE(all_same(Checkpoint::open(directory / "a"), Checkpoint::open(directory / "b")));
}

TEST(SameBytes, WhatIsNotFiniteIsNotTheSame) {
  const TemporaryDirectory directory;
  TinyBert{}.write(directory / "a");
  for (const float number :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    put(directory / "a", number);
    const Checkpoint a = Checkpoint::open(directory / "a");
    EXPECT_FALSE(all_same(a, a)) << number;
  }
  put(directory / "a", std::numeric_limits<float>::max());
  const Checkpoint a = Checkpoint::open(directory / "a");
  EXPECT_TRUE(all_same(a, a));
}

}  // namespace
}  // namespace attnsym
