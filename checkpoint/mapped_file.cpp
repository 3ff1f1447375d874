#include "checkpoint/mapped_file.hpp"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

#include "checkpoint/file.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {

namespace {

// Where files are mapped, as a signal handler can read it: a list that only grows. Places of mappings that
// are gone are used again.
struct Mapping {
  std::atomic<const std::byte*> start{nullptr};
  std::size_t size = 0;
  std::string path;
  Mapping* next = nullptr;
};

std::mutex mappings_mutex;
std::atomic<Mapping*> mappings{nullptr};

void note_mapping(std::span<const std::byte> bytes, const std::filesystem::path& path) {
  const std::lock_guard lock(mappings_mutex);
  Mapping* place = mappings;
  while (place != nullptr && place->start != nullptr) place = place->next;
  const bool is_new = place == nullptr;
  if (is_new) place = new Mapping;
  place->size = bytes.size();
  place->path = path.string();
  place->start = bytes.data();
  if (!is_new) return;
  place->next = mappings;
  mappings = place;
}

void forget_mapping(const std::byte* start) {
  const std::lock_guard lock(mappings_mutex);
  for (Mapping* place = mappings; place != nullptr; place = place->next) {
    if (place->start == start) place->start = nullptr;
  }
}

}  // namespace

const char* mapped_file_at(const void* address) noexcept {
  const auto* byte = static_cast<const std::byte*>(address);
  for (const Mapping* place = mappings; place != nullptr; place = place->next) {
    const std::byte* start = place->start;
    if (start != nullptr && byte >= start && byte < start + place->size) return place->path.c_str();
  }
  return nullptr;
}

MappedFile::State MappedFile::state_of(const struct stat& status) {
  return {status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size), status.st_mtim.tv_sec,
          status.st_mtim.tv_nsec};
}

MappedFile MappedFile::open(const std::filesystem::path& path) {
  const File file = File::open(path);
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0)
    throw IoError(path.string() + ": cannot stat: " + std::generic_category().message(errno));
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return {path, {}, state_of(status)};  // mmap refuses an empty range
  void* start = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (start == MAP_FAILED) {
    throw IoError(path.string() + ": cannot map: " + std::generic_category().message(errno));
  }
  return {path, {static_cast<const std::byte*>(start), size}, state_of(status)};
}

MappedFile::MappedFile(std::filesystem::path path, std::span<const std::byte> bytes, const State& state)
    : path_(std::move(path)), bytes_(bytes), state_(state) {
  if (!bytes_.empty()) note_mapping(bytes_, path_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})), state_(other.state_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  std::swap(state_, other.state_);
  return *this;
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  forget_mapping(bytes_.data());
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::require_unchanged() const {
  struct stat status {};
  if (::stat(path_.c_str(), &status) != 0) return;
  const State now = state_of(status);
  if (now.device == state_.device && now.number == state_.number && !(now == state_))
    throw IoError(path_.string() + ": was written to while it was read");
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
