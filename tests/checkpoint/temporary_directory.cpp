#include "tests/checkpoint/temporary_directory.hpp"

#include <stdlib.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>

namespace attnsym::testing {
namespace {

namespace fs = std::filesystem;

std::map<fs::path, std::string> contents(const fs::path& root) {
  std::map<fs::path, std::string> all;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
    all[entry.path().lexically_relative(root)] =
        entry.is_regular_file() ? read_text(entry.path()) : "directory";
  }
  return all;
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (fs::temp_directory_path() / "attnsym-test-XXXXXX").string();  // mkdtemp fills the X in
  if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary directory");
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void write_bytes(const fs::path& path, const std::vector<std::byte>& bytes) {
  write_text(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void write_text(const fs::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary).write(text.data(), static_cast<std::streamsize>(text.size()));
}

std::vector<std::byte> read_bytes(const fs::path& path) {
  const std::string text = read_text(path);
  std::vector<std::byte> bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  return {std::istreambuf_iterator<char>(in), {}};
}

bool same_tree(const fs::path& a, const fs::path& b) { return contents(a) == contents(b); }

}  // namespace attnsym::testing
