#include <gtest/gtest.h>

#include <filesystem>

#include "checkpoint/safetensors_header.hpp"
#include "symmetry/errors.hpp"
#include "tests/checkpoint/temporary_directory.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

// @return how many files were replayed
int replay(const fs::path& folder) {
  int files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.path().extension() == ".md") continue;
    ++files;
    try {
      parse_safetensors_header(testing::read_bytes(entry.path()), entry.path().string());
    } catch (const FormatError&) {
    }
  }
  return files;
}

TEST(SafetensorsCorpus, SeedsAreReadOrRefused) {
  EXPECT_GE(replay(fs::path(FUZZ_DIRECTORY) / "corpus" / "safetensors"), 10) << "the corpus is missing";
}

TEST(SafetensorsCorpus, WhatFuzzingFoundStaysFixed) {
  replay(fs::path(FUZZ_DIRECTORY) / "finds" / "safetensors");
}

}  // namespace
}  // namespace attnsym
