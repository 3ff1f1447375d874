#pragma once

#include <string>

#include "symmetry/gauge_blocks.hpp"
#include "symmetry/general_linear.hpp"
#include "symmetry/mla_weights.hpp"
#include "symmetry/products.hpp"
#include "symmetry/random.hpp"
#include "symmetry/symmetry_group.hpp"

namespace attnsym {

/// What moves one head of latent attention. first: A of size dn, K -> K A^T, Q -> Q A^-1.  second: C of size
/// dv, V -> V C^T, O -> C^-T O.
template <Scalar S>
using MlaHeadMove = Direct<GeneralLinear<S>, GeneralLinear<S>>;

/// What moves a latent. first: U, orthogonal, of its coordinates, W -> W U^T.  second: a diagonal matrix
/// without zeros, gain -> gain times it. What reads the latent is carried along, B -> gain'^-1 U gain B.
template <Scalar S>
using MlaLatentMove = Direct<GeneralLinear<S>, GeneralLinear<S>>;

/// An element of the group of latent attention. first: heads with their moves.  second.first: the gauge Z of
/// the shared rotary key, R -> R Z^T, P_i -> P_i Z^-1, which commutes with positions.  second.second: the
/// latents of queries and of keys and values.
template <Scalar S>
using MlaElement =
    Direct<Wreath<MlaHeadMove<S>>, Direct<GeneralLinear<S>, Direct<MlaLatentMove<S>, MlaLatentMove<S>>>>;

template <Scalar S>
const GeneralLinear<S>& rotary_gauge(const MlaElement<S>& element) {
  return element.second.first;
}
template <Scalar S>
const MlaLatentMove<S>& query_latent_move(const MlaElement<S>& element) {
  return element.second.second.first;
}
template <Scalar S>
const MlaLatentMove<S>& kv_latent_move(const MlaElement<S>& element) {
  return element.second.second.second;
}

/// The action on a module [N5]. @throws ShapeError if sizes differ, SingularError if a gain is zero
template <Scalar S>
MlaWeights<S> act(const MlaElement<S>& element, const MlaWeights<S>& weights);

/// What commutes with positions on the rotary key.
std::vector<GaugeBlock> rotary_blocks(const MlaConfig& config);

/// The group of latent attention of one config: every element leaves the function of every module unchanged.
class MlaSymmetryGroup {
 public:
  template <Scalar S>
  MlaElement<S> identity() const;

  /// A random element; options as for SymmetryGroup, whose qk moves Q, K and the rotary key here and whose
  /// bias moves nothing. @throws ShapeError as there
  template <Scalar S>
  MlaElement<S> sample(Random& random, const SampleOptions& options = {}) const;

  /// Whether the element fits the config, is finite, commutes with positions, turns latents by isometries and
  /// multiplies gains by a diagonal without zeros.
  template <Scalar S>
  bool contains(const MlaElement<S>& element) const;

  /// Dimension of the set of weights that share one function, at generic weights, for dn <= dq, dc and dv <=
  /// dc, D. Norms without an epsilon ignore a positive scale of each W, which elements do not have.
  Index dimension() const;

  /// One line for people.
  std::string describe() const;

 private:
  explicit MlaSymmetryGroup(MlaConfig config);
  friend MlaSymmetryGroup symmetry_of(const MlaConfig& config);

  MlaConfig config_;
  std::vector<GaugeBlock> blocks_;  // of the rotary key
};

/// @throws ShapeError on an invalid config
MlaSymmetryGroup symmetry_of(const MlaConfig& config);

static_assert(GroupElement<MlaElement<double>>);

}  // namespace attnsym
