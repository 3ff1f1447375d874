#include <benchmark/benchmark.h>
#include <malloc.h>

#include "nfn/activation.hpp"
#include "nfn/equivariant_linear.hpp"
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
struct Encoder {
  using Layers = Sequential<EquivariantLinear<float>, PerceptronRelu<float>, InvariantLayer<float>>;

  explicit Encoder(Index width)
      : layers(EquivariantLinear<float>(width, 1, 10), PerceptronRelu<float>(),
               InvariantLayer<float>(width, 10, 10)) {
    randomize(layers);
  }

  Layers layers;
};

WeightFeatures<float> checkpoints(Index width, Index batch) {
  auto weights = WeightFeatures<float>::zero(zoo_shape(width), 1, batch);
  Random random(2);
  for_each_tensor(weights, [&](const char*, Matrix<float>& tensor) {
    for (Index i = 0; i < tensor.size(); ++i) tensor(i) = static_cast<float>(random.uniform());
  });
  return weights;
}

// Training allocates the same megabytes in every step. Giving them back to the kernel each time would cost
// more than the arithmetic.
void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

// One block, one thread; blocks are independent, so that two blocks keep two threads busy for as long.
void encode_block(benchmark::State& state) {
  keep_freed_memory();
  const Index batch = state.range(1);
  const Encoder encoder(state.range(0));
  const auto weights = checkpoints(state.range(0), batch);
  const auto half_square = [](const Matrix<float>& output) { return output; };
  for (auto _ : state) benchmark::DoNotOptimize(encoder.layers.differentiate(weights, half_square));
  state.counters["per checkpoint"] =
      benchmark::Counter(static_cast<double>(batch),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(encode_block)->Args({32, 64})->Args({32, 8})->Args({128, 8})->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace attnsym::bench
