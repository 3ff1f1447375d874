#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "checkpoint/gguf_model.hpp"
#include "checkpoint/llama2c.hpp"
#include "checkpoint/safetensors_header.hpp"
#include "symmetry/errors.hpp"
#include "tests/checkpoint/temporary_directory.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

using Bytes = std::vector<std::byte>;

struct Format {
  const char* name;  // of the folders
  int seeds, read;   // files in the corpus, and how many of them are sound, at least
  std::function<void(const Bytes&, const std::string&)> parse;
};

const std::vector<Format> formats{
    {"safetensors", 10, 3,
     [](const Bytes& file, const std::string& name) { parse_safetensors_header(file, name); }},
    {"gguf", 10, 9, [](const Bytes& file, const std::string& name) { read_gguf_model(file, name); }},
    {"llama2c", 4, 3, [](const Bytes& file, const std::string& name) { read_llama2c(file, name); }},
};

struct Replayed {
  int files = 0, read = 0;
};

Replayed replay(const Format& format, const char* kind) {
  Replayed replayed;
  const fs::path folder = fs::path(FUZZ_DIRECTORY) / kind / format.name;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.path().extension() == ".md") continue;
    ++replayed.files;
    try {
      format.parse(testing::read_bytes(entry.path()), entry.path().string());
      ++replayed.read;
    } catch (const FormatError&) {
    }
  }
  return replayed;
}

TEST(FuzzCorpus, SeedsAreReadOrRefused) {
  for (const Format& format : formats) {
    const Replayed replayed = replay(format, "corpus");
    EXPECT_GE(replayed.files, format.seeds) << "the corpus of " << format.name << " is missing";
    EXPECT_GE(replayed.read, format.read) << format.name;
  }
}

TEST(FuzzCorpus, WhatFuzzingFoundStaysFixed) {
  for (const Format& format : formats) replay(format, "finds");
}

}  // namespace
}  // namespace attnsym
