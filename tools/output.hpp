#pragma once

#include <cstddef>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace attnsym {

/// Prints an answer on standard output. Names in it need not be UTF-8: what is not becomes U+FFFD.
void print_object(const nlohmann::json& object);

/// A progress line on standard error, shown only on a terminal and erased at the end.
class Progress {
 public:
  /// @param total  tasks that are known of already
  explicit Progress(std::string label, std::size_t total = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// So many more tasks are known of. Any thread may call it.
  void expect(std::size_t tasks);

  /// One more task is done, of those that are known of. Any thread may call it.
  void advance();

 private:
  void show() const;

  std::string label_;
  std::size_t total_;
  std::size_t done_ = 0;
  bool visible_;
  std::mutex mutex_;
};

}  // namespace attnsym
