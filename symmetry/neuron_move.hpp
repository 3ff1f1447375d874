#pragma once

#include "symmetry/permutation.hpp"
#include "symmetry/transformer_weights.hpp"

namespace attnsym {

/// What moves the neurons of an MLP [N12]: neuron k goes to place order(k), what it reads as its up part is
/// multiplied by scale(k), its gate by gate_scale(k), and what it writes divided by both. Activations that
/// are not gated allow scales of ReLU neurons only, positive ones; gated neurons any scale but 0, and a
/// positive gate_scale with ReLU.
struct NeuronMove {
  Permutation order;
  RowVector<double> scale;
  RowVector<double> gate_scale;

  bool operator==(const NeuronMove& other) const;
};

NeuronMove identity_move(Index neurons);
NeuronMove compose(const NeuronMove& g, const NeuronMove& h);
NeuronMove inverse(const NeuronMove& g);
NeuronMove identity_like(const NeuronMove& g);

/// Whether neurons of this kind may be moved so.
bool allows(const MlpConfig& config, const NeuronMove& move);

/// @throws ShapeError on another number of neurons
Mlp<double> act(const NeuronMove& move, const Mlp<double>& mlp);

static_assert(GroupElement<NeuronMove>);
static_assert(LeftActsOn<NeuronMove, Mlp<double>>);

}  // namespace attnsym
