#pragma once

#include <filesystem>
#include <mutex>

namespace attnsym {

/// A folder that this process has made, under a name that nobody else has, and that it removes again with all
/// that is in it.
class TemporaryFolder {
 public:
  /// @param parent  an existing directory @throws IoError if no folder can be made there
  explicit TemporaryFolder(const std::filesystem::path& parent);
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  const std::filesystem::path& path() const { return path_; }

  /// As the destructor does, before it.
  void remove();

  /// While it lives remove_all waits: for what moves something out of a folder.
  static std::unique_lock<std::mutex> hold();

  /// Removes all that there are, though other threads may still write to them: for a process that has been
  /// told to end. Whoever wants to make, hold or remove one after that waits for the end.
  static void remove_all() noexcept;

 private:
  std::filesystem::path path_;
};

}  // namespace attnsym
