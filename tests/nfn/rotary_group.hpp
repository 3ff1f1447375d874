#pragma once

#include "symmetry/symmetry_group.hpp"
#include "verify/testing/families.hpp"

namespace attnsym::testing {

/// An invertible n x n matrix, complex as a pair of real ones, and its inverse.
template <Scalar S>
struct ComplexPair {
  Matrix<S> real;
  Matrix<S> imaginary;
};

/// 1 + z E_ij for i != j, or for i == j the factor u at i: the steps of which exact gauges are made.
template <Scalar S>
ComplexPair<S> elementary(Index size, Index i, Index j, const S& real, const S& imaginary) {
  ComplexPair<S> step{Matrix<S>::Identity(size, size), Matrix<S>::Zero(size, size)};
  step.real(i, j) = real;
  step.imaginary(i, j) = imaginary;
  return step;
}

/// QK gauges of modules of this config: on every block shears by Gaussian integers, and units times powers of
/// 1 + i and of 2, whose inverses are dyadic: exact in all scalars. Real blocks get the real ones.
template <Scalar S>
rc::Gen<GeneralLinear<S>> exact_block_gauge(const AttentionConfig& config) {
  return rc::gen::exec([config] {
    const Index width = config.key_width;
    GeneralLinear<S> gauge = GeneralLinear<S>::identity(width);
    const auto move = [&](const GaugeBlock& block, const ComplexPair<S>& step, const ComplexPair<S>& back) {
      Matrix<S> matrix = Matrix<S>::Identity(width, width);
      Matrix<S> inverse = matrix;
      set_block(matrix, block, step.real, step.imaginary);
      set_block(inverse, block, back.real, back.imaginary);
      gauge = compose(GeneralLinear<S>::from_matrix_and_inverse(matrix, inverse), gauge);
    };
    for (const GaugeBlock& block : gauge_blocks(config)) {
      const Index n = block.size();
      const int turns = block.is_complex() ? 1 : 0;
      for (Index k = 0; k < n; ++k) {
        const int twice = *small_integer(1);
        const S scale = S(std::ldexp(1.0, twice));
        move(block, elementary<S>(n, k, k, scale, S(0)), elementary<S>(n, k, k, S(1) / scale, S(0)));
        if (turns == 1 && *rc::gen::arbitrary<bool>())  // 1 + i, whose inverse is (1 - i) / 2
          move(block, elementary<S>(n, k, k, S(1), S(1)), elementary<S>(n, k, k, S(1) / S(2), S(-1) / S(2)));
        if (turns == 0 && *rc::gen::arbitrary<bool>())
          move(block, elementary<S>(n, k, k, S(-1), S(0)), elementary<S>(n, k, k, S(-1), S(0)));
        if (n == 1) continue;
        const Index to = (k + 1 + *whole_range(0, static_cast<int>(n) - 2)) % n;
        const S real = S(*small_integer(2));
        const S imaginary = S(turns * *small_integer(2));
        move(block, elementary<S>(n, k, to, real, imaginary),
             elementary<S>(n, k, to, S(-real), S(-imaginary)));
      }
    }
    return gauge;
  });
}

/// Families of the group that symmetry_of(config) has, for modules without biases: as AttentionGroup, with
/// the QK gauges that rotary positions leave.
struct RotaryGroup {
  AttentionConfig config;

  rc::Gen<AttentionWeights<double>> weights() const { return testing::weights<double>(config); }

  std::vector<Family<AttentionElement<double>>> families() const {
    std::vector<Family<AttentionElement<double>>> families = AttentionGroup{config}.families();
    for (auto& family : families) {
      if (family.name != "QK gauge") continue;
      family.elements = moving(rc::gen::exec([c = config] {
        auto g = identity_element<double>(c);
        for (auto& move : g.local) move.second.first.linear = *exact_block_gauge<double>(c);
        RC_ASSERT(symmetry_of(c).contains(g));
        return g;
      }));
    }
    return families;
  }
};

/// Any element, from these.
template <Scalar S>
rc::Gen<AttentionElement<S>> rotary_element(const AttentionConfig& c) {
  return rc::gen::exec([c] {
    AttentionElement<S> element = *attention_element<S>(c);
    for (auto& move : element.local) move.second.first.linear = *exact_block_gauge<S>(c);
    return element;
  });
}

}  // namespace attnsym::testing
