#pragma once

#include <rapidcheck.h>

#include <cmath>
#include <limits>

#include "verify/testing/closeness.hpp"
#include "verify/testing/generators.hpp"

/// Is a layer on attention weights equivariant under the symmetry group? A layer is any callable from
/// AttentionWeights<S> to AttentionWeights<S>.
namespace attnsym::testing {

/// |layer(g w) - g layer(w)| relative to the larger of the two; infinite where that is not a number.
template <RealScalar S, class Layer>
double equivariance_error(const Layer& layer, const AttentionElement<S>& g, const AttentionWeights<S>& w) {
  const RowVector<S> moved_first = flat(AttentionWeights<S>(layer(act(g, w))));
  const RowVector<S> moved_last = flat(act(g, AttentionWeights<S>(layer(w))));
  if (moved_first.size() != moved_last.size()) return std::numeric_limits<double>::infinity();
  const double size =
      std::max(static_cast<double>(moved_first.norm()), static_cast<double>(moved_last.norm()));
  const double error = static_cast<double>((moved_first - moved_last).norm());
  if (!std::isfinite(error) || !std::isfinite(size)) return std::numeric_limits<double>::infinity();
  return size > 0 ? error / size : error;
}

/// Checks the layer on random weights and group elements of this config and says on standard error what
/// breaks it: the smallest weights, the simplest group element, and the line that replays them. Elements are
/// products of integer shears, swaps and signs, so a correct layer is far below tolerance<S>() * slack.
/// @returns whether the layer passed. False also if more than a fifth of the elements drawn were trivial.
template <RealScalar S, class Layer>
bool is_equivariant(const Layer& layer, const AttentionConfig& config, double slack = 100) {
  TrivialCount trivial;
  const bool passed = rc::check("the layer is equivariant", [&] {
    const AttentionWeights<S> w = *weights<S>(config);
    const AttentionElement<S> g = *attention_element<S>(config);
    trivial.note(g);
    const double error = equivariance_error<S>(layer, g, w);
    RC_LOG() << "relative error " << error << std::endl;
    RC_ASSERT(error <= static_cast<double>(tolerance<S>()) * slack);
  });
  return passed && trivial.share() <= largest_trivial_share;
}

}  // namespace attnsym::testing
