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

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

fs::path checked(const fs::path& destination, Overwrite overwrite) {
  fs::path path = without_trailing_slash(destination);
  const std::string name = path.filename().string();
  if (name.empty() || name == "." || name == "..")
    throw IoError(destination.string() + ": not the name of a file or directory to write");
  std::error_code ignored;
  const fs::file_type type = fs::symlink_status(path, ignored).type();
  const bool is_taken = type != fs::file_type::not_found && type != fs::file_type::none;
  if (is_taken && overwrite == Overwrite::No)
    throw IoError(path.string() + ": exists; use --force to replace it");
  if (is_taken && type != fs::file_type::regular && type != fs::file_type::directory &&
      type != fs::file_type::symlink)
    throw IoError(path.string() + ": is a device, a FIFO or a socket, which is not replaced");
  if (!fs::is_directory(parent_of(path), ignored))
    throw IoError(parent_of(path).string() + ": no such directory to write to");
  return path;
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

// rename() replaces no directory that has entries. Where the file system cannot swap two names, the old one
// moves beside the new one's folder first, which is not removed with it: if that is where it ends, it is
// there.
int exchange(const fs::path& fresh, const fs::path& old) {
  const int error = rename_with(fresh, old, RENAME_EXCHANGE);
  if (error != EINVAL) return error;
  const fs::path aside = fresh.parent_path().string() + "-replaced";
  if (const int moved = rename_with(old, aside, 0); moved != 0) return moved;
  if (const int placed = rename_with(fresh, old, 0); placed != 0) {
    rename_with(aside, old, 0);
    return placed;
  }
  std::error_code ignored;
  fs::remove_all(aside, ignored);
  return 0;
}

void sync_one(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  const int error = descriptor < 0 || ::fsync(descriptor) != 0 ? errno : 0;
  if (descriptor >= 0) ::close(descriptor);
  // Some file systems cannot; nobody could do more about it.
  if (error != 0 && error != EINVAL && error != ELOOP)
    throw IoError(path.string() +
                  ": cannot be brought to the disk: " + std::generic_category().message(error));
}

void sync_tree(const fs::path& path) {
  if (is_real_directory(path)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) sync_tree(entry.path());
  }
  sync_one(path);
}

}  // namespace

AtomicOutput::AtomicOutput(const fs::path& destination, Overwrite overwrite, Sync sync)
    : destination_(checked(destination, overwrite)),
      folder_(parent_of(destination_)),
      partial_(folder_.path() / destination_.filename()),
      overwrite_(overwrite),
      sync_(sync) {}

void AtomicOutput::commit() {
  if (sync_ == Sync::Yes) sync_tree(partial_);
  int error = 0;
  {
    const auto unless_ending = TemporaryFolder::hold();
    error = put_in_place();
  }
  if (error != 0) {
    throw IoError(destination_.string() +
                  ": cannot put the finished output in place: " + std::generic_category().message(error));
  }
  if (sync_ == Sync::Yes) sync_one(fs::canonical(parent_of(destination_)));
  folder_.remove();
}

int AtomicOutput::put_in_place() const {
  if (!is_taken(destination_)) return rename_to_new(partial_, destination_);
  if (overwrite_ == Overwrite::No) return EEXIST;
  if (is_real_directory(destination_) || is_real_directory(partial_)) return exchange(partial_, destination_);
  return rename_with(partial_, destination_, 0);
}

void require_writable(const fs::path& destination, Overwrite overwrite) {
  const AtomicOutput tried(destination, overwrite, Sync::No);
}

void write_file_atomically(const fs::path& path, std::span<const std::byte> bytes, Overwrite overwrite) {
  if (is_real_directory(path)) throw IoError(path.string() + ": is a directory, not a file to write");
  AtomicOutput output(path, overwrite);
  File::create(output.path()).write_at(0, bytes);
  output.commit();
}

}  // namespace attnsym
