#pragma once

#include <cstddef>
#include <functional>

namespace attnsym {

/// Runs task(0) ... task(count - 1), each once, in any order or at once. Results do not depend on it.
using RunTasks = std::function<void(std::size_t count, const std::function<void(std::size_t)>& task)>;

inline void run_in_turn(std::size_t count, const std::function<void(std::size_t)>& task) {
  for (std::size_t i = 0; i < count; ++i) task(i);
}

}  // namespace attnsym
