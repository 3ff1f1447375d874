#include "checkpoint/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const char* action, int error) {
  throw IoError(path.string() + ": cannot " + action + ": " + std::generic_category().message(error));
}

// Some file systems and old kernels refuse copy_file_range; a plain copy always works.
bool is_unsupported(int error) {
  return error == EXDEV || error == EINVAL || error == ENOSYS || error == EOPNOTSUPP || error == EPERM;
}

}  // namespace

File File::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO would otherwise wait for a writer.
  File file(path, ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.descriptor_ < 0) fail(path, "open", errno);
  struct stat status {};
  if (::fstat(file.descriptor_, &status) != 0) fail(path, "stat", errno);
  if (!S_ISREG(status.st_mode)) throw IoError(path.string() + ": not a regular file");
  return file;
}

File File::open_to_write(const std::filesystem::path& path) {
  File file(path, ::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.descriptor_ < 0) fail(path, "open", errno);
  return file;
}

File File::create(const std::filesystem::path& path) {
  File file(path, ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (file.descriptor_ < 0) fail(path, "create", errno);
  return file;
}

File::File(File&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::uint64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) fail(path_, "stat", errno);
  return static_cast<std::uint64_t>(status.st_size);
}

std::size_t File::read(std::span<std::byte> out) {
  std::size_t done = 0;
  while (done < out.size()) {
    const ssize_t count = ::read(descriptor_, out.data() + done, out.size() - done);
    if (count == 0) break;
    if (count > 0) {
      done += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      fail(path_, "read", errno);
    }
  }
  return done;
}

void File::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count >= 0) {
      offset += static_cast<std::uint64_t>(count);
      bytes = bytes.subspan(static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      fail(path_, "write", errno);
    }
  }
}

void File::copy_from(const File& source, std::uint64_t source_offset, std::uint64_t offset,
                     std::uint64_t length) {
  bool in_kernel = true;
  std::vector<std::byte> buffer;
  while (length > 0) {
    ssize_t count = -1;
    if (in_kernel) {
      auto from = static_cast<off_t>(source_offset);
      auto to = static_cast<off_t>(offset);
      count = ::copy_file_range(source.descriptor_, &from, descriptor_, &to, length, 0);
      if (count < 0 && is_unsupported(errno)) {
        in_kernel = false;
        buffer.resize(1 << 20);
        continue;
      }
    } else {
      count = ::pread(source.descriptor_, buffer.data(), std::min<std::uint64_t>(length, buffer.size()),
                      static_cast<off_t>(source_offset));
      if (count > 0) write_at(offset, {buffer.data(), static_cast<std::size_t>(count)});
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, "copy", errno);
    if (count == 0) throw IoError(source.path_.string() + ": became shorter while it was copied");
    source_offset += static_cast<std::uint64_t>(count);
    offset += static_cast<std::uint64_t>(count);
    length -= static_cast<std::uint64_t>(count);
  }
}

}  // namespace attnsym
