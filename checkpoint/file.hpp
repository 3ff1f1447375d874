#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace attnsym {

/// An open regular file, closed by the destructor. Every failure is an IoError with the file's name.
class File {
 public:
  /// @throws IoError if there is no such file or it is not a regular file (a FIFO does not block).
  static File open(const std::filesystem::path& path);

  /// An existing file for writing.
  static File open_to_write(const std::filesystem::path& path);

  /// A new, empty file for writing. @throws IoError also if something of this name exists.
  static File create(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  const std::filesystem::path& path() const { return path_; }
  int descriptor() const { return descriptor_; }
  std::uint64_t size() const;

  /// Reads from the current position, less than asked for only at the end of the file. @return bytes read
  std::size_t read(std::span<std::byte> out);

  /// Writes all bytes at an offset; the file grows as needed. Threads may write to different places at once.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);

  /// Copies bytes of another file without bringing them into this process where the kernel can
  /// (copy_file_range).
  void copy_from(const File& source, std::uint64_t source_offset, std::uint64_t offset, std::uint64_t length);

 private:
  File(std::filesystem::path path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}

  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace attnsym
