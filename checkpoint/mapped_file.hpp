#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace attnsym {

/// A whole file mapped read-only into memory. Like every mapping it is only good while nobody truncates the
/// file.
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

  /// Asks the kernel to read this range ahead. Only a hint: ranges outside the file are cut, failures
  /// ignored.
  void will_need(std::size_t offset, std::size_t length) const;

  /// Tells the kernel that this process can do without this range in memory; it is read again if it is used.
  void done_with(std::size_t offset, std::size_t length) const;

 private:
  MappedFile(std::filesystem::path path, std::span<const std::byte> bytes)
      : path_(std::move(path)), bytes_(bytes) {}

  void advise(std::size_t offset, std::size_t length, int advice) const;

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace attnsym
