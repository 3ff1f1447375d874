#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "checkpoint/temporary_folder.hpp"

namespace attnsym {

enum class Overwrite { No, Yes };

/// Whether an output that is complete has to be on the disk before it gets its name: a power failure would
/// otherwise leave the name with half of it. Waiting for the disk may take longer than all the rest.
enum class Sync { No, Yes };

/// A file or directory that appears under its name only when it is complete. It is written into a hidden
/// folder beside it, which nobody else has, and renamed by commit(); whenever the process dies, the
/// destination is the old or the new one.
class AtomicOutput {
 public:
  /// @throws IoError if the destination exists and overwrite is No, if it is neither a regular file nor a
  /// directory, or if its parent directory does not exist or cannot be written to.
  AtomicOutput(const std::filesystem::path& destination, Overwrite overwrite, Sync sync = Sync::Yes);

  /// Where to write. The caller creates the file or directory there.
  const std::filesystem::path& path() const { return partial_; }

  /// Gives the output its name; an old one is removed after that.
  /// @throws IoError, and then the destination is as it was.
  void commit();

 private:
  int put_in_place() const;  // 0 or the error number

  std::filesystem::path destination_;
  TemporaryFolder folder_;
  std::filesystem::path partial_;  // in it, with the name of the destination
  Overwrite overwrite_;
  Sync sync_;
};

/// Refuses a destination before hours of work, not after. @throws IoError as AtomicOutput does
void require_writable(const std::filesystem::path& destination, Overwrite overwrite);

/// @throws IoError as AtomicOutput does, if path is a directory, and if writing fails.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes,
                           Overwrite overwrite);

}  // namespace attnsym
