#include <benchmark/benchmark.h>

#include <cstddef>
#include <vector>

#include "bench/bert_layer.hpp"
#include "checkpoint/dtype.hpp"
#include "symmetry/assignment.hpp"
#include "symmetry/balance.hpp"
#include "symmetry/canonical.hpp"
#include "symmetry/circuits.hpp"

namespace attnsym::bench {
namespace {

// Arguments of what runs on one layer: model width and heads, as in MiniLM and in BERT-base.
void layers(benchmark::internal::Benchmark* benchmark) {
  benchmark->Args({384, 12})->Args({768, 12})->Unit(benchmark::kMillisecond);
}

AttentionConfig config_of(const benchmark::State& state) {
  return bert_config(state.range(0), state.range(1));
}

// One head.
void difference_norms_of_qk_circuits(benchmark::State& state) {
  const AttentionConfig config = config_of(state);
  const AttentionWeights<double> weights = random_weights(config);
  const Circuit<double> a = qk_circuit(config, weights, 0);
  const Circuit<double> b = qk_circuit(config, weights, 1);
  for (auto _ : state) benchmark::DoNotOptimize(difference_norms(a, b));
}
BENCHMARK(difference_norms_of_qk_circuits)->Apply(layers);

// One head.
void balance_of_a_circuit(benchmark::State& state) {
  const AttentionConfig config = config_of(state);
  const AttentionWeights<double> weights = random_weights(config);
  const Circuit<double> circuit = qk_circuit(config, weights, 0);
  for (auto _ : state) benchmark::DoNotOptimize(balance(circuit.left, circuit.right, 1e-12));
}
BENCHMARK(balance_of_a_circuit)->Apply(layers);

// All heads of a layer.
void canonicalize_layer(benchmark::State& state) {
  const AttentionConfig config = config_of(state);
  const AttentionWeights<double> weights = random_weights(config);
  for (auto _ : state) benchmark::DoNotOptimize(canonicalize(weights, config));
}
BENCHMARK(canonicalize_layer)->Apply(layers);

void assignment(benchmark::State& state) {
  const Matrix<double> cost = random_matrix(state.range(0), state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(solve_assignment(cost));
}
BENCHMARK(assignment)->Arg(12)->Arg(64)->Arg(512)->Unit(benchmark::kMicrosecond);

// The query matrix of BERT-base.
void decode_matrix(benchmark::State& state, Dtype dtype) {
  const Matrix<double> values = random_matrix(768, 768);
  const std::span<const double> numbers(values.data(), static_cast<std::size_t>(values.size()));
  std::vector<std::byte> bytes(numbers.size() * size_of(dtype));
  encode(dtype, numbers, bytes);
  std::vector<double> decoded(numbers.size());
  for (auto _ : state) {
    decode(dtype, bytes, decoded);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK_CAPTURE(decode_matrix, F32, Dtype::F32)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(decode_matrix, F16, Dtype::F16)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(decode_matrix, BF16, Dtype::BF16)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace attnsym::bench
