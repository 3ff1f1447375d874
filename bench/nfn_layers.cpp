#include <benchmark/benchmark.h>
#include <malloc.h>

#include <fstream>
#include <string>
#include <thread>

#include "nfn/activation.hpp"
#include "nfn/equivariant_linear.hpp"
#include "nfn/in_slices.hpp"
#include "nfn/invariant.hpp"
#include "nfn/sequential.hpp"
#include "symmetry/random.hpp"

namespace attnsym::bench {
namespace {

// The blocks of the paper's zoo; the argument is D.
BlockShape zoo_shape(Index width) { return {width, 2, width / 2, width / 2, 2 * width}; }

template <class Layer>
void randomize(Layer& layer) {
  Random random(1);
  for (const auto& view : layer.parameters()) {
    for (Index i = 0; i < view.size(); ++i) view(i) = static_cast<float>(random.uniform() / 32);
  }
}

// What the paper's predictor does to one block: E from 1 to 10 channels, activation, I from 10 to 10.
using Encoder = InSlices<Sequential<EquivariantLinear<float>, PerceptronRelu<float>, InvariantLayer<float>>>;

Encoder encoder_of(Index width, Index slice) {
  Encoder encoder(Sequential(EquivariantLinear<float>(width, 1, 10), PerceptronRelu<float>(),
                             InvariantLayer<float>(width, 10, 10)),
                  slice);
  randomize(encoder);
  return encoder;
}

WeightFeatures<float> random_checkpoints(Index width, Index batch) {
  auto weights = WeightFeatures<float>::zero(zoo_shape(width), 1, batch);
  Random random(2);
  for_each_tensor(weights, [&](const char*, Matrix<float>& tensor) {
    for (Index i = 0; i < tensor.size(); ++i) tensor(i) = static_cast<float>(random.uniform());
  });
  return weights;
}

Matrix<float> half_square(const Matrix<float>& outputs, Index /*first*/) { return outputs; }

// Training allocates the same megabytes in every step. Giving them back to the kernel each time would cost
// more than the arithmetic.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

// Most memory that the call has beyond what was there before it, in bytes.
template <class Call>
double peak_memory(Call call) {
  const auto kilobytes = [](const std::string& wanted) {
    std::ifstream status("/proc/self/status");
    for (std::string key, rest; status >> key && std::getline(status, rest);) {
      if (key == wanted) return std::stod(rest);
    }
    return 0.0;
  };
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << 5;  // the peak begins anew
  const double before = kilobytes("VmRSS:");
  call();
  return 1024 * (kilobytes("VmHWM:") - before);
}

void count_checkpoints(benchmark::State& state, double batch, double memory) {
  state.counters["per checkpoint"] =
      benchmark::Counter(batch, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["bytes per checkpoint"] = benchmark::Counter(memory / batch);
}

// Arguments: D, checkpoints, checkpoints in a slice; all in one slice for comparison.
void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->Unit(benchmark::kMillisecond);
  benchmark->Args({32, 64, 8})->Args({32, 64, 64})->Args({128, 64, 16})->Args({128, 64, 64});
}

// One block, one thread.
void encode_block(benchmark::State& state) {
  keep_freed_memory();
  const Encoder encoder = encoder_of(state.range(0), state.range(2));
  const auto weights = random_checkpoints(state.range(0), state.range(1));
  const auto run = [&] { benchmark::DoNotOptimize(encoder.differentiate(weights, half_square)); };
  const double memory = peak_memory(run);
  for (auto _ : state) run();
  count_checkpoints(state, static_cast<double>(state.range(1)), memory);
}
BENCHMARK(encode_block)->Apply(sizes);

// Two blocks, one thread each.
void encode_two_blocks(benchmark::State& state) {
  keep_freed_memory();
  const Encoder encoders[] = {encoder_of(state.range(0), state.range(2)),
                              encoder_of(state.range(0), state.range(2))};
  const auto weights = random_checkpoints(state.range(0), state.range(1));
  const auto run = [&](int block) {
    benchmark::DoNotOptimize(encoders[block].differentiate(weights, half_square));
  };
  const auto run_both = [&] {
    const std::jthread other(run, 1);
    run(0);
  };
  const double memory = peak_memory(run_both);
  for (auto _ : state) run_both();
  count_checkpoints(state, static_cast<double>(state.range(1)), memory);
}
BENCHMARK(encode_two_blocks)->Apply(sizes)->UseRealTime();

// What the arithmetic of the above could run at.
void sgemm(benchmark::State& state) {
  const Index n = state.range(0);
  const Matrix<float> a = Matrix<float>::Random(n, n);
  Matrix<float> product(n, n);
  for (auto _ : state) {
    product.noalias() = a * a;
    benchmark::DoNotOptimize(product.data());
    benchmark::ClobberMemory();
  }
  state.counters["flops"] =
      benchmark::Counter(2.0 * static_cast<double>(n * n * n), benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(sgemm)->Arg(256)->Arg(512)->Arg(1024);

}  // namespace
}  // namespace attnsym::bench
