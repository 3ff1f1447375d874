#include "symmetry/neuron_move.hpp"

namespace attnsym {
namespace {

// Entry i of the result is entry p(i): where the entries of h are once p has moved them, seen from before.
RowVector<double> seen_before(const Permutation& p, const RowVector<double>& entries) {
  RowVector<double> result(entries.size());
  for (Index i = 0; i < entries.size(); ++i) result(i) = entries(p(i));
  return result;
}

}  // namespace

bool NeuronMove::operator==(const NeuronMove& other) const {
  return order == other.order && scale == other.scale && gate_scale == other.gate_scale;
}

NeuronMove identity_move(Index neurons) {
  return {Permutation::identity(neurons), RowVector<double>::Ones(neurons), RowVector<double>::Ones(neurons)};
}

NeuronMove compose(const NeuronMove& g, const NeuronMove& h) {
  return {compose(g.order, h.order), h.scale.cwiseProduct(seen_before(h.order, g.scale)),
          h.gate_scale.cwiseProduct(seen_before(h.order, g.gate_scale))};
}

NeuronMove inverse(const NeuronMove& g) {
  const Permutation back = inverse(g.order);
  return {back, seen_before(back, g.scale.cwiseInverse()), seen_before(back, g.gate_scale.cwiseInverse())};
}

NeuronMove identity_like(const NeuronMove& g) { return identity_move(g.order.size()); }

bool allows(const MlpConfig& config, const NeuronMove& move) {
  if (move.order.size() != config.width) return false;
  const bool is_relu = config.activation == Activation::Relu;
  const bool scales = !move.scale.isOnes(0);
  const bool scales_gates = !move.gate_scale.isOnes(0);
  const auto positive = [](const RowVector<double>& row) { return (row.array() > 0).all(); };
  if (scales_gates && !(config.gated && is_relu && positive(move.gate_scale))) return false;
  if (!scales) return true;
  if (config.gated) return (move.scale.array() != 0).all() && move.scale.allFinite();
  return is_relu && positive(move.scale);
}

Mlp<double> act(const NeuronMove& move, const Mlp<double>& mlp) {
  require_same_size("a move of neurons and an MLP", move.order.size(), mlp.up.cols());
  Mlp<double> moved = mlp;
  for (Index k = 0; k < move.order.size(); ++k) {
    const Index place = move.order(k);
    moved.up.col(place) = move.scale(k) * mlp.up.col(k);
    if (mlp.up_bias.size() > 0) moved.up_bias(place) = move.scale(k) * mlp.up_bias(k);
    if (mlp.gate.size() > 0) moved.gate.col(place) = move.gate_scale(k) * mlp.gate.col(k);
    if (mlp.gate_bias.size() > 0) moved.gate_bias(place) = move.gate_scale(k) * mlp.gate_bias(k);
    moved.down.row(place) = mlp.down.row(k) / (move.scale(k) * move.gate_scale(k));
  }
  return moved;
}

}  // namespace attnsym
