#include "tools/output.hpp"

#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace attnsym {

void print_object(const nlohmann::json& object) {
  std::printf("%s\n", object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
}

Progress::Progress(std::string label, std::size_t total)
    : label_(std::move(label)), total_(total), visible_(isatty(STDERR_FILENO) == 1) {
  show();
}

Progress::~Progress() {
  if (visible_) std::fprintf(stderr, "\r\033[K");
}

void Progress::expect(std::size_t tasks) {
  const std::lock_guard lock(mutex_);
  total_ += tasks;
  show();
}

void Progress::advance() {
  const std::lock_guard lock(mutex_);
  ++done_;
  assert(done_ <= total_);
  show();
}

void Progress::show() const {
  if (!visible_) return;
  constexpr std::size_t width = 30;
  const std::size_t filled = total_ == 0 ? 0 : width * std::min(done_, total_) / total_;
  const std::string bar = std::string(filled, '#') + std::string(width - filled, '.');
  std::fprintf(stderr, "\r%s [%s] %zu/%zu", label_.c_str(), bar.c_str(), done_, total_);
}

}  // namespace attnsym
