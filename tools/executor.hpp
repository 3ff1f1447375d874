#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "symmetry/run_tasks.hpp"
#include "tools/output.hpp"

namespace attnsym {

/// Runs task(0) ... task(count - 1), each once, on up to `workers` threads. The first exception stops the
/// hand-out of further tasks and is rethrown here.
void run_tasks(std::size_t count, std::size_t workers, const std::function<void(std::size_t)>& task);

/// The same for libraries that ask for nothing but tasks; they are counted on the line of `progress` where
/// there is one.
RunTasks on_threads(std::size_t workers, std::shared_ptr<Progress> progress = nullptr);

/// How threads are shared out to layers at once, and inside each of them.
struct ThreadPlan {
  std::size_t layers = 1;
  std::size_t inside = 1;
};

/// As many layers at once as threads and memory allow; threads that are left over work inside a layer.
/// @param bytes_per_layer  what the weights of one layer take in memory, working copies included
ThreadPlan plan_threads(std::size_t threads, std::size_t layers, std::size_t bytes_per_layer);

/// Where memory has run out: what the last plan took it for; empty without a plan.
std::string memory_note();

/// The number of hardware threads, at least 1.
std::size_t default_workers();

}  // namespace attnsym
