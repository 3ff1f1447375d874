#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "symmetry/attention_weights.hpp"
#include "symmetry/group.hpp"

/// How far a layer is from commuting with one group element, tensor by tensor of its output.
namespace attnsym::testing {

/// The tensors of an attention module by name; those of all groups and readers go by one name.
template <Scalar S, class Visit>
void for_each_tensor(const AttentionWeights<S>& weights, Visit visit) {
  for (const KvGroup<S>& group : weights.groups) {
    visit("key", group.key);
    visit("value", group.value);
    visit("key bias", group.key_bias);
    visit("value bias", group.value_bias);
    for (const QueryHead<S>& reader : group.readers) {
      visit("query", reader.query);
      visit("output", reader.output);
      visit("query bias", reader.query_bias);
    }
  }
  visit("output bias", weights.output_bias);
}

/// An output that is one matrix.
template <class Derived, class Visit>
void for_each_tensor(const Eigen::MatrixBase<Derived>& output, Visit visit) {
  visit("output", output);
}

/// The largest entry of layer(g w) - g layer(w) in one output tensor.
struct TensorError {
  std::string tensor;
  double absolute = 0;  ///< infinite where anything is not finite or shapes differ
  double size = 0;      ///< the largest entry of that tensor on either side
};

/// One error per tensor name. An output type that G does not act on has to be invariant instead.
using TensorErrors = std::vector<TensorError>;

namespace detail {

inline TensorError& entry_of(TensorErrors& errors, const std::string& tensor) {
  const auto found = std::find_if(errors.begin(), errors.end(),
                                  [&](const TensorError& error) { return error.tensor == tensor; });
  if (found != errors.end()) return *found;
  return errors.emplace_back(TensorError{tensor, 0, 0});
}

// std::max would let NaN pass.
inline double finite_or_infinite(double value) {
  return std::isfinite(value) ? value : std::numeric_limits<double>::infinity();
}

template <class A, class B>
void note_error(TensorError& error, const A& a, const B& b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) {
    error.absolute = std::numeric_limits<double>::infinity();
    return;
  }
  for (Index j = 0; j < a.cols(); ++j) {
    for (Index i = 0; i < a.rows(); ++i) {
      const double difference = finite_or_infinite(static_cast<double>(a(i, j) - b(i, j)));
      error.absolute = std::max(error.absolute, std::abs(difference));
      error.size = std::max(
          {error.size, std::abs(static_cast<double>(a(i, j))), std::abs(static_cast<double>(b(i, j)))});
    }
  }
}

template <class G, class Y>
Y moved_output(const G& g, const Y& y) {
  if constexpr (LeftActsOn<G, Y>) {
    return act(g, y);
  } else {
    return y;
  }
}

}  // namespace detail

template <class Layer, class G, class X>
TensorErrors tensor_errors(const Layer& layer, const G& g, const X& x) {
  const auto moved_first = layer(act(g, x));
  const auto moved_last = detail::moved_output(g, layer(x));
  // Tensors pair up by the order of the visits.
  TensorErrors errors;
  std::size_t place = 0;
  for_each_tensor(moved_first, [&](const char* name, const auto& a) {
    std::size_t other = 0;
    bool paired = false;
    for_each_tensor(moved_last, [&](const char*, const auto& b) {
      if (other++ != place) return;
      detail::note_error(detail::entry_of(errors, name), a, b);
      paired = true;
    });
    if (!paired) detail::entry_of(errors, name).absolute = std::numeric_limits<double>::infinity();
    ++place;
  });
  return errors;
}

/// The precision ladder of N10 for one tensor: the same draw in double and at 50 digits. Rounding falls with
/// the unit roundoff, slope 1; a difference stays, slope 0, however small it is.
/// @param scale  the largest entry of the whole output.
inline bool is_rounding(double in_double, double at_50_digits, double scale) {
  constexpr double negligible = 1e-30;  // of the scale; gauges of condition up to 1e16 leave less
  constexpr double half_way = 1e-17;    // slope 1/2 between 2^-53 and 1e-50
  return at_50_digits <= std::max(negligible * scale, half_way * in_double) && std::isfinite(in_double);
}

}  // namespace attnsym::testing
