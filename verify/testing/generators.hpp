#pragma once

#include <rapidcheck.h>

#include <array>
#include <cmath>

#include "symmetry/attention_symmetry.hpp"
#include "symmetry/attention_weights.hpp"
#include "verify/testing/show.hpp"

/// RapidCheck generators for modules and group elements. Everything is built from small integers, so that the
/// laws hold exactly in every scalar, and every generator shrinks toward the trivial element or the zero
/// matrix.
namespace attnsym::testing {

/// RapidCheck scales inRange with its size parameter, which begins at 0: left alone, early draws are all
/// trivial. Here the whole range is always in play; shrinking toward `low` is untouched.
inline rc::Gen<int> whole_range(int low, int high) {
  return rc::gen::resize(rc::kNominalSize, rc::gen::inRange(low, high + 1));
}

/// Shrinks toward 0 from both sides.
inline rc::Gen<int> small_integer(int bound) {
  return rc::gen::map(whole_range(0, 2 * bound), [](int i) { return i % 2 == 0 ? i / 2 : -(i + 1) / 2; });
}

/// Random transpositions; each shrinks to the trivial one.
inline rc::Gen<Permutation> permutation(Index size) {
  const auto place = whole_range(0, static_cast<int>(size) - 1);
  return rc::gen::map(rc::gen::container<std::vector<std::pair<int, int>>>(static_cast<std::size_t>(size),
                                                                           rc::gen::pair(place, place)),
                      [size](const std::vector<std::pair<int, int>>& swaps) {
                        std::vector<Index> image = Permutation::identity(size).image();
                        for (const auto& [i, j] : swaps) std::swap(image[i], image[j]);
                        return Permutation::from_image(std::move(image));
                      });
}

/// One step of an integer GL(n) element: a shear with factor f, a swap or a sign, by kind 0, 1, 2.
using ElementaryStep = std::array<int, 4>;  // kind, i, j, f

template <Scalar S>
GeneralLinear<S> apply_step(const GeneralLinear<S>& g, const ElementaryStep& step) {
  const Index n = g.size();
  const auto [kind, i, j, f] = step;
  Matrix<S> matrix = Matrix<S>::Identity(n, n);
  Matrix<S> inverse = matrix;
  if (kind == 0 && i != j) {
    matrix(i, j) = S(f);
    inverse(i, j) = S(-f);
  } else if (kind == 1 && f != 0) {
    matrix.row(i).swap(matrix.row(j));
    inverse = matrix.transpose();
  } else if (kind == 2 && f < 0) {
    matrix(i, i) = inverse(i, i) = S(-1);
  }
  return compose(GeneralLinear<S>::from_matrix_and_inverse(matrix, inverse), g);
}

/// A product of integer shears, swaps and signs with its exact inverse: exact in every scalar, and well
/// conditioned. Every step shrinks to the identity.
template <Scalar S>
rc::Gen<GeneralLinear<S>> general_linear(Index size) {
  const auto place = whole_range(0, static_cast<int>(size) - 1);
  const auto step = rc::gen::construct<ElementaryStep>(whole_range(0, 2), place, place, small_integer(2));
  return rc::gen::map(
      rc::gen::container<std::vector<ElementaryStep>>(static_cast<std::size_t>(size) + 2, step),
      [size](const std::vector<ElementaryStep>& steps) {
        auto g = GeneralLinear<S>::identity(size);
        for (const ElementaryStep& s : steps) g = apply_step(g, s);
        return g;
      });
}

/// A product of integer shears, swaps and signs, then a scaling of every coordinate by a power of two from
/// 1/4 to 4: exact in every binary scalar, and generating enough of GL(n) that nothing short of GL(n)
/// commutes.
template <Scalar S>
rc::Gen<GeneralLinear<S>> dyadic_linear(Index size) {
  return rc::gen::exec([size] {
    const auto integer = *general_linear<S>(size);
    Matrix<S> scale = Matrix<S>::Identity(size, size);
    Matrix<S> inverse = scale;
    for (Index k = 0; k < size; ++k) {
      const int exponent = *small_integer(2);
      scale(k, k) = S(std::ldexp(1.0, exponent));
      inverse(k, k) = S(std::ldexp(1.0, -exponent));
    }
    return compose(GeneralLinear<S>::from_matrix_and_inverse(scale, inverse), integer);
  });
}

/// Entries k / 4 with |k| <= 8.
template <Scalar S>
rc::Gen<Matrix<S>> matrix(Index rows, Index cols) {
  return rc::gen::map(
      rc::gen::container<std::vector<int>>(static_cast<std::size_t>(rows * cols), small_integer(8)),
      [rows, cols](const std::vector<int>& entries) {
        Matrix<S> m(rows, cols);
        for (Index i = 0; i < m.size(); ++i) m.data()[i] = S(entries[i]) / S(4);
        return m;
      });
}

template <Scalar S>
rc::Gen<RowVector<S>> row(Index size) {
  return rc::gen::map(matrix<S>(1, size), [](const Matrix<S>& m) { return RowVector<S>(m.row(0)); });
}

/// A module's shape: D up to 5, up to 3 groups of up to 3 readers, widths up to 3, any biases. `readers` at
/// least 1.
inline rc::Gen<AttentionConfig> config() {
  return rc::gen::exec([] {
    AttentionConfig c;
    c.model_width = *whole_range(1, 5);
    c.groups = *whole_range(1, 3);
    c.heads = c.groups * *whole_range(1, 3);
    c.key_width = *whole_range(1, 3);
    c.value_width = *whole_range(1, 3);
    c.query_bias = *rc::gen::arbitrary<bool>();
    c.key_bias = *rc::gen::arbitrary<bool>();
    c.value_bias = *rc::gen::arbitrary<bool>();
    c.output_bias = *rc::gen::arbitrary<bool>();
    c.causal = *rc::gen::arbitrary<bool>();
    c.scale = 0.5;
    return c;
  });
}

template <Scalar S>
rc::Gen<AttentionWeights<S>> weights(const AttentionConfig& c) {
  return rc::gen::exec([c] {
    AttentionWeights<S> w;
    const auto bias = [](bool present, Index size) { return *row<S>(present ? size : 0); };
    for (Index j = 0; j < c.groups; ++j) {
      KvGroup<S> group{*matrix<S>(c.model_width, c.key_width),
                       *matrix<S>(c.model_width, c.value_width),
                       bias(c.key_bias, c.key_width),
                       bias(c.value_bias, c.value_width),
                       {}};
      for (Index i = 0; i < c.readers_per_group(); ++i) {
        group.readers.push_back({*matrix<S>(c.model_width, c.key_width),
                                 *matrix<S>(c.value_width, c.model_width), bias(c.query_bias, c.key_width),
                                 bias(c.sinks, 1)});
      }
      w.groups.push_back(std::move(group));
    }
    w.output_bias = bias(c.output_bias, c.model_width);
    return w;
  });
}

/// A gauge; its shift is zero unless `may_shift`.
template <Scalar S>
rc::Gen<Affine<S>> affine(Index size, bool may_shift = true) {
  return rc::gen::exec([size, may_shift] {
    Affine<S> gauge{*general_linear<S>(size), RowVector<S>::Zero(size)};
    if (may_shift) gauge.shift = *row<S>(size);
    return gauge;
  });
}

/// Any element of the group of modules of this config.
template <Scalar S>
rc::Gen<AttentionElement<S>> attention_element(const AttentionConfig& c) {
  return rc::gen::exec([c] {
    AttentionElement<S> element{{}, *permutation(c.groups)};
    for (Index j = 0; j < c.groups; ++j) {
      element.local.push_back(
          {*permutation(c.readers_per_group()),
           {*affine<S>(c.key_width, c.key_bias), *affine<S>(c.value_width, c.value_bias && c.output_bias)}});
    }
    return element;
  });
}

/// Counts how many of the drawn elements did nothing; a property that mostly sees the identity shows nothing.
class TrivialCount {
 public:
  template <GroupElement G>
  void note(const G& g) {
    ++total_;
    if (g == identity_like(g)) ++trivial_;
  }

  double share() const { return total_ == 0 ? 1.0 : static_cast<double>(trivial_) / total_; }

 private:
  int total_ = 0;
  int trivial_ = 0;
};

/// The largest share of trivial draws that a law may have been tested on.
constexpr double largest_trivial_share = 0.2;

}  // namespace attnsym::testing
