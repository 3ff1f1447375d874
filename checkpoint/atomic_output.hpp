#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace attnsym {

enum class Overwrite { No, Yes };

/// A file or directory that appears under its name only when it is complete. It is written as a hidden
/// sibling .NAME.partial-PID and renamed by commit(); whenever the process dies, the destination is the old
/// or the new one.
/// It is not synced to the disk: what a killed process has written is in the kernel's hands, only a power
/// failure would make a difference, and for a 90 MB model syncing takes three times as long as copying.
class AtomicOutput {
 public:
  /// @throws IoError if the destination exists and overwrite is No, or if its parent directory does not
  /// exist.
  AtomicOutput(const std::filesystem::path& destination, Overwrite overwrite);

  AtomicOutput(const AtomicOutput&) = delete;
  AtomicOutput& operator=(const AtomicOutput&) = delete;

  /// Removes what was written, unless committed.
  ~AtomicOutput();

  /// Where to write. The caller creates the file or directory there.
  const std::filesystem::path& path() const { return partial_; }

  /// Gives the output its name; an old one is removed after that.
  /// @throws IoError, and then the destination is as it was.
  void commit();

 private:
  std::filesystem::path destination_;
  std::filesystem::path partial_;
  Overwrite overwrite_;
};

/// @throws IoError as AtomicOutput does, if path is a directory, and if writing fails.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes,
                           Overwrite overwrite);

}  // namespace attnsym
