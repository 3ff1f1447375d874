#include "checkpoint/atomic_output.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>

#include "checkpoint/file.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

// A dangling link counts: its name is taken.
bool is_taken(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

bool is_real_directory(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(fs::symlink_status(path, ignored));
}

// "out/" names the same as "out", but has no last component.
fs::path without_trailing_slash(const fs::path& path) {
  const fs::path normal = path.lexically_normal();
  return normal.has_filename() ? normal : normal.parent_path();
}

fs::path partial_beside(const fs::path& destination) {
  const std::string name = destination.filename().string();
  if (name.empty() || name == "." || name == "..") {
    throw IoError(destination.string() + ": not the name of a file or directory to write");
  }
  return destination.parent_path() / ("." + name + ".partial-" + std::to_string(::getpid()));
}

// @return 0 or the error number
int rename_with(const fs::path& from, const fs::path& to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

// Never replaces anything. Network file systems without RENAME_NOREPLACE get the plain rename: the
// constructor has looked, and only someone who creates the destination in between would lose it.
int rename_to_new(const fs::path& from, const fs::path& to) {
  const int error = rename_with(from, to, RENAME_NOREPLACE);
  return error == EINVAL && !is_taken(to) ? rename_with(from, to, 0) : error;
}

}  // namespace

AtomicOutput::AtomicOutput(const fs::path& destination, Overwrite overwrite)
    : destination_(without_trailing_slash(destination)),
      partial_(partial_beside(destination_)),
      overwrite_(overwrite) {
  if (overwrite_ == Overwrite::No && is_taken(destination_)) {
    throw IoError(destination_.string() + ": exists; use --force to replace it");
  }
  const fs::path parent = destination_.has_parent_path() ? destination_.parent_path() : fs::path(".");
  std::error_code ignored;
  if (!fs::is_directory(parent, ignored)) throw IoError(parent.string() + ": no such directory to write to");
  fs::remove_all(partial_, ignored);  // left by a killed process that had our number
}

AtomicOutput::~AtomicOutput() {
  std::error_code ignored;
  fs::remove_all(partial_, ignored);
}

void AtomicOutput::commit() {
  int error = 0;
  if (!is_taken(destination_)) {
    error = rename_to_new(partial_, destination_);
  } else if (overwrite_ == Overwrite::No) {
    error = EEXIST;
  } else if (is_real_directory(destination_) || is_real_directory(partial_)) {
    // rename() replaces no directory that has entries; swapped with the new one, the old one is removed at
    // leisure.
    error = rename_with(partial_, destination_, RENAME_EXCHANGE);
  } else {
    error = rename_with(partial_, destination_, 0);
  }
  if (error != 0) {
    throw IoError(destination_.string() +
                  ": cannot put the finished output in place: " + std::generic_category().message(error));
  }
  std::error_code ignored;
  fs::remove_all(partial_, ignored);
}

void write_file_atomically(const fs::path& path, std::span<const std::byte> bytes, Overwrite overwrite) {
  if (is_real_directory(path)) throw IoError(path.string() + ": is a directory, not a file to write");
  AtomicOutput output(path, overwrite);
  File::create(output.path()).write_at(0, bytes);
  output.commit();
}

}  // namespace attnsym
