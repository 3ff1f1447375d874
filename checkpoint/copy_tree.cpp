#include "checkpoint/copy_tree.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "checkpoint/file.hpp"
#include "checkpoint/output_list.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

// At the top of a model's directory; modules beside the model have weights of their own in folders.
bool holds_old_weights(const fs::path& name) {
  constexpr std::array<std::string_view, 7> folders{".git",     ".cache", ".locks",  "onnx",
                                                    "openvino", "coreml", "original"};
  constexpr std::array<std::string_view, 16> endings{
      ".safetensors", ".pt",   ".pth",  ".ckpt", ".onnx", ".onnx_data", ".h5",  ".msgpack",
      ".tflite",      ".gguf", ".ggml", ".ot",   ".npz",  ".mlmodel",   ".mar", ".safetensors.index.json"};
  const std::string text = name.string();
  const auto ends = [&](std::string_view ending) { return text.ends_with(ending); };
  return std::ranges::find(folders, text) != folders.end() || std::ranges::any_of(endings, ends) ||
         text.starts_with("pytorch_model") || text.starts_with("openvino_model");
}

void copy_regular_file(const fs::path& from, const fs::path& to) {
  const File source = File::open(from);
  File::create(to).copy_from(source, 0, 0, source.size());
  constexpr fs::perms kept = fs::perms::owner_all | fs::perms::group_all | fs::perms::others_all;
  fs::permissions(to, (fs::status(from).permissions() & kept) | fs::perms::owner_write);
}

class TreeCopy {
 public:
  TreeCopy(const fs::path& from, const std::set<fs::path>& skip) : from_(from), skip_(skip) {}

  void copy(const fs::path& from, const fs::path& to) {
    std::error_code error;
    if (!fs::create_directory(to, error))
      throw IoError(to.string() + ": cannot make this directory: " + error.message());
    for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
      const fs::path name = entry.path().filename();
      if (skip_.contains(entry.path())) continue;
      const bool at_top = from == from_;
      if (at_top && name == output_list_name) continue;
      if (at_top && holds_old_weights(name)) {
        leave_out(entry);
      } else {
        copy(entry, to / name);
      }
    }
  }

  std::vector<std::string> left_out;

 private:
  void copy(const fs::directory_entry& entry, const fs::path& target) {
    std::error_code ignored;  // of links that lead nowhere, or to themselves
    const fs::file_status status = fs::status(entry.path(), ignored);
    if (fs::is_regular_file(status)) {
      copy_regular_file(entry.path(), target);
    } else if (entry.is_symlink()) {
      leave_out(entry);
    } else if (fs::is_directory(status)) {
      copy(entry.path(), target);
    } else {
      throw IoError(entry.path().string() + ": neither a file nor a directory; not copied");
    }
  }

  void leave_out(const fs::directory_entry& entry) {
    left_out.push_back(entry.path().lexically_relative(from_).string());
  }

  const fs::path& from_;
  const std::set<fs::path>& skip_;
};

}  // namespace

std::vector<std::string> copy_tree(const fs::path& from, const fs::path& to, const std::set<fs::path>& skip) {
  TreeCopy tree(from, skip);
  try {
    tree.copy(from, to);
  } catch (const fs::filesystem_error& error) {
    throw IoError(error.path1().string() + ": cannot copy: " + error.code().message());
  }
  std::ranges::sort(tree.left_out);
  return std::move(tree.left_out);
}

}  // namespace attnsym
