#include "tools/executor.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#ifdef EIGEN_USE_BLAS
extern "C" void openblas_set_num_threads(int count);
#endif

namespace attnsym {
namespace {

// Tasks are the only parallelism: a BLAS with threads of its own would fight them for the processors.
void use_one_blas_thread() {
#ifdef EIGEN_USE_BLAS
  openblas_set_num_threads(1);
#endif
}

struct Planned {
  std::size_t layers = 0;
  std::size_t bytes_per_layer = 0;
};
Planned planned;

}  // namespace

void run_tasks(std::size_t count, std::size_t workers, const std::function<void(std::size_t)>& task) {
  use_one_blas_thread();
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) {
      try {
        task(i);
      } catch (...) {
        const std::lock_guard lock(failure_mutex);
        if (!failure) failure = std::current_exception();
        next = count;
      }
    }
  };
  std::vector<std::thread> threads;
  try {
    for (std::size_t i = 1; i < std::min(workers, count); ++i) threads.emplace_back(work);
  } catch (const std::system_error&) {
    // No more threads can be had: those there are do the work, at least this one.
  }
  work();
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

RunTasks on_threads(std::size_t workers, std::shared_ptr<Progress> progress) {
  return [workers, progress](std::size_t count, const std::function<void(std::size_t)>& task) {
    if (!progress) return run_tasks(count, workers, task);
    progress->expect(count);
    run_tasks(count, workers, [&](std::size_t i) {
      task(i);
      progress->advance();
    });
  };
}

ThreadPlan plan_threads(std::size_t threads, std::size_t layers, std::size_t bytes_per_layer) {
  constexpr std::size_t memory = std::size_t{1} << 28;
  const std::size_t fit = std::max<std::size_t>(1, memory / std::max<std::size_t>(1, bytes_per_layer));
  ThreadPlan plan;
  plan.layers = std::max<std::size_t>(1, std::min({threads, layers, fit}));
  plan.inside = std::max<std::size_t>(1, threads / plan.layers);
  planned = {plan.layers, bytes_per_layer};
  return plan;
}

std::string memory_note() {
  const auto [layers, bytes] = planned;
  if (layers == 0) return "";
  return "; the numbers of one layer of both models take " + std::to_string((bytes >> 20U) + 1) +
         " MB, working on them a few times that, and " + std::to_string(layers) +
         (layers == 1 ? " layer is" : " layers are") + " worked on at a time (see --threads)";
}

std::size_t default_workers() { return std::max(1U, std::thread::hardware_concurrency()); }

}  // namespace attnsym
