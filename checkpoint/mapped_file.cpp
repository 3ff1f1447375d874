#include "checkpoint/mapped_file.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "checkpoint/file.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {

MappedFile MappedFile::open(const std::filesystem::path& path) {
  const File file = File::open(path);
  const std::uint64_t size = file.size();
  if (size == 0) return MappedFile(path, {});  // mmap refuses an empty range
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (start == MAP_FAILED) {
    throw IoError(path.string() + ": cannot map: " + std::generic_category().message(errno));
  }
  return MappedFile(path, {static_cast<const std::byte*>(start), size});
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::will_need(std::size_t offset, std::size_t length) const {
  advise(offset, length, MADV_WILLNEED);
}

void MappedFile::done_with(std::size_t offset, std::size_t length) const {
  advise(offset, length, MADV_DONTNEED);
}

void MappedFile::advise(std::size_t offset, std::size_t length, int advice) const {
  if (offset >= bytes_.size()) return;
  length = std::min(length, bytes_.size() - offset);
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t start = offset / page * page;
  ::madvise(const_cast<std::byte*>(bytes_.data()) + start, offset + length - start, advice);
}

}  // namespace attnsym
