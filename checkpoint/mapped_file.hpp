#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

struct stat;

namespace attnsym {

/// A whole file mapped read-only into memory. Like every mapping it is only good while nobody truncates the
/// file: reading behind its new end raises SIGBUS, see mapped_file_at.
class MappedFile {
 public:
  /// @throws IoError if there is no such file or it is not a regular file.
  static MappedFile open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  const std::filesystem::path& path() const { return path_; }

  /// Empty for an empty file.
  std::span<const std::byte> bytes() const { return bytes_; }

  /// @throws IoError if somebody has written to the file since it was opened. Another file that has taken its
  /// name does no harm.
  void require_unchanged() const;

  /// Asks the kernel to read this range ahead. Only a hint: ranges outside the file are cut, failures
  /// ignored.
  void will_need(std::size_t offset, std::size_t length) const;

  /// Tells the kernel that this process can do without this range in memory; it is read again if it is used.
  void done_with(std::size_t offset, std::size_t length) const;

 private:
  /// What tells that a file was written to.
  struct State {
    std::uint64_t device, number, size;
    std::int64_t seconds, nanoseconds;

    bool operator==(const State&) const = default;
  };

  MappedFile(std::filesystem::path path, std::span<const std::byte> bytes, const State& state);

  static State state_of(const struct stat& status);
  void advise(std::size_t offset, std::size_t length, int advice) const;

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
  State state_{};
};

/// The name of the file that is mapped at this address, or nullptr; for signal handlers.
const char* mapped_file_at(const void* address) noexcept;

}  // namespace attnsym
