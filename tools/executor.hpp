#pragma once

#include <cstddef>
#include <functional>

namespace attnsym {

/// Runs task(0) ... task(count - 1), each once, on up to `workers` threads. The first exception stops the
/// hand-out of further tasks and is rethrown here.
void run_tasks(std::size_t count, std::size_t workers, const std::function<void(std::size_t)>& task);

/// The number of hardware threads, at least 1.
std::size_t default_workers();

}  // namespace attnsym
