#include "checkpoint/copy_tree.hpp"

#include "checkpoint/file.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

void copy_regular_file(const fs::path& from, const fs::path& to) {
  const File source = File::open(from);
  File::create(to).copy_from(source, 0, 0, source.size());
  fs::permissions(to, fs::status(from).permissions());
}

void copy_entries(const fs::path& from, const fs::path& to, const std::set<fs::path>& skip) {
  fs::create_directory(to, from);
  for (const fs::directory_entry& entry : fs::directory_iterator(from)) {
    if (skip.contains(entry.path())) continue;
    const fs::path target = to / entry.path().filename();
    if (entry.is_regular_file()) {
      copy_regular_file(entry.path(), target);
    } else if (entry.is_symlink()) {  // to a directory, where following could go round in circles, or to
                                      // nothing
      fs::copy_symlink(entry.path(), target);
    } else if (entry.is_directory()) {
      copy_entries(entry.path(), target, skip);
    } else {
      throw IoError(entry.path().string() + ": neither a file nor a directory; not copied");
    }
  }
}

}  // namespace

void copy_tree(const fs::path& from, const fs::path& to, const std::set<fs::path>& skip) {
  try {
    copy_entries(from, to, skip);
  } catch (const fs::filesystem_error& error) {
    throw IoError(error.path1().string() + ": cannot copy: " + error.code().message());
  }
}

}  // namespace attnsym
