#include "tools/executor.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
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
  for (std::size_t i = 1; i < std::min(workers, count); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

ThreadPlan plan_threads(std::size_t threads, std::size_t layers, std::size_t bytes_per_layer) {
  constexpr std::size_t memory = std::size_t{1} << 28;
  const std::size_t fit = std::max<std::size_t>(1, memory / std::max<std::size_t>(1, bytes_per_layer));
  ThreadPlan plan;
  plan.layers = std::max<std::size_t>(1, std::min({threads, layers, fit}));
  plan.inside = std::max<std::size_t>(1, threads / plan.layers);
  return plan;
}

std::size_t default_workers() { return std::max(1U, std::thread::hardware_concurrency()); }

}  // namespace attnsym
