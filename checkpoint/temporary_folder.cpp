#include "checkpoint/temporary_folder.hpp"

#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>
#include <system_error>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

// All folders of this process.
struct Folders {
  std::mutex mutex;
  std::set<fs::path> paths;
};

Folders& folders() {
  static Folders all;
  return all;
}

// What another thread writes meanwhile may keep a folder from being removed.
void remove_folder(const fs::path& path) {
  std::error_code error;
  for (int attempt = 0; attempt < 100; ++attempt) {
    fs::remove_all(path, error);
    if (!error) return;
  }
}

}  // namespace

TemporaryFolder::TemporaryFolder(const fs::path& parent) {
  std::string name = (parent / ".attnsym-XXXXXX").string();  // mkdtemp fills the X in
  Folders& all = folders();
  const std::lock_guard lock(all.mutex);
  if (::mkdtemp(name.data()) == nullptr)
    throw IoError((parent.empty() ? "." : parent.string()) +
                  ": cannot make a folder there: " + std::generic_category().message(errno));
  path_ = name;
  all.paths.insert(path_);
}

TemporaryFolder::~TemporaryFolder() { remove(); }

void TemporaryFolder::remove() {
  remove_folder(path_);
  const std::lock_guard lock(folders().mutex);
  folders().paths.erase(path_);
}

std::unique_lock<std::mutex> TemporaryFolder::hold() { return std::unique_lock(folders().mutex); }

void TemporaryFolder::remove_all() noexcept {
  Folders& all = folders();
  all.mutex.lock();  // for ever
  for (const fs::path& path : all.paths) remove_folder(path);
}

}  // namespace attnsym
