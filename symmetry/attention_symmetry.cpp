#include "symmetry/attention_symmetry.hpp"

#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/signed_gains.hpp"

namespace attnsym {
namespace {

template <class S>
bool is_zero(const RowVector<S>& shift) {
  return shift.size() == 0 || (shift.array() == S(0)).all();
}

// x L^T + shift; an absent bias stays absent.
template <class S>
RowVector<S> moved_bias(const Affine<S>& gauge, const RowVector<S>& bias, const char* name) {
  if (bias.size() > 0) return multiply_nt(bias, gauge.linear.matrix()) + gauge.shift;
  if (!is_zero(gauge.shift))
    throw ShapeError(std::string("a shift of the ") + name + " bias needs a module that has one");
  return bias;
}

template <class S>
QueryHead<S> moved_reader(const Gauges<S>& gauges, const QueryHead<S>& reader) {
  const Matrix<S>& a_inverse = gauges.first.linear.inverse_matrix();
  const Matrix<S>& c_inverse = gauges.second.linear.inverse_matrix();
  QueryHead<S> moved{multiply(reader.query, a_inverse),
                     multiply_tn(c_inverse, reader.output),
                     reader.query_bias,
                     reader.sink,
                     reader.gain,
                     reader.distance_bias,
                     reader.gate,
                     reader.gate_bias};
  if (reader.query_bias.size() > 0) moved.query_bias = multiply(reader.query_bias, a_inverse);
  return moved;
}

// Gates belong to coordinates of values, whatever their signs and sizes.
template <Scalar S>
void move_gates(const Affine<S>& vo, KvGroup<S>& group) {
  if (group.readers.empty() || group.readers.front().gate.size() == 0) return;
  if (!is_zero(vo.shift)) throw ShapeError("the value bias beside a gate cannot be shifted");
  const auto parts = signed_gains(vo.linear);
  if (!parts)
    throw ShapeError(
        "where outputs are gated the gauges of values have to be signed and scaled permutations");
  const Matrix<S> places = parts->turn.matrix().cwiseAbs().transpose();
  for (QueryHead<S>& reader : group.readers) {
    reader.gate = multiply(reader.gate, places);
    if (reader.gate_bias.size() > 0) reader.gate_bias = multiply(reader.gate_bias, places);
  }
}

// A gauge of a module with gains in two parts: the signed permutation that moves weights, and what moves
// gains, which are rows: key gains by x -> x sizes^T, query gains by x -> x inverse.
template <Scalar S>
struct GainMove {
  Affine<S> turn;
  Matrix<S> sizes;
  Matrix<S> inverse;
};

template <Scalar S>
void require_no_shift(const Affine<S>& qk) {
  if (!is_zero(qk.shift)) throw ShapeError("the key bias of normalised keys cannot be shifted");
}

template <Scalar S>
GainMove<S> gain_move(const Affine<S>& qk) {
  require_no_shift(qk);
  const auto parts = signed_gains(qk.linear);
  if (!parts)
    throw ShapeError(
        "where queries and keys are normalised their gauges have to be signed permutations times sizes");
  const Matrix<S> places = parts->turn.matrix().cwiseAbs();
  return {{parts->turn, qk.shift},
          parts->stretch.asDiagonal() * places,
          places.transpose() * parts->stretch.cwiseInverse().asDiagonal()};
}

// An element of a module whose heads share gains: what moves the weights, and the gains.
template <Scalar S>
std::pair<AttentionElement<S>, GainMove<S>> shared_gain_move(const AttentionElement<S>& element) {
  const GeneralLinear<S>& first = qk_gauge(element.local.front()).linear;
  AttentionElement<S> rest = element;
  for (GroupMove<S>& move : rest.local) {
    Affine<S>& qk = move.second.first;
    if (!share_gains(qk.linear, first))
      throw ShapeError("where all heads share gains all groups have to stretch keys alike");
    qk = gain_move(qk).turn;
  }
  return {std::move(rest), gain_move(qk_gauge(element.local.front()))};
}

template <Scalar S>
KvGroup<S> moved_weights(const GroupMove<S>& move, const KvGroup<S>& group) {
  const Affine<S>& qk = qk_gauge(move);
  const Affine<S>& vo = vo_gauge(move);
  require_same_size("a QK gauge and the keys", qk.linear.size(), group.key.cols());
  require_same_size("a VO gauge and the values", vo.linear.size(), group.value.cols());
  KvGroup<S> moved{multiply_nt(group.key, qk.linear.matrix()),
                   multiply_nt(group.value, vo.linear.matrix()),
                   moved_bias(qk, group.key_bias, "key"),
                   moved_bias(vo, group.value_bias, "value"),
                   {},
                   group.gain};
  for (const QueryHead<S>& reader : group.readers) moved.readers.push_back(moved_reader(move.second, reader));
  move_gates(vo, moved);
  moved.readers = act(reader_order(move), std::move(moved.readers));
  return moved;
}

}  // namespace

template <Scalar S>
KvGroup<S> act(const GroupMove<S>& move, const KvGroup<S>& group) {
  const Affine<S>& qk = qk_gauge(move);
  const bool own_gains = group.gain.size() > 0;
  const bool temperatures = !own_gains && !group.readers.empty() && group.readers.front().gain.size() > 0;
  if (temperatures) {
    require_no_shift(qk);
    if (!is_isometry(qk.linear))
      throw ShapeError("beside temperatures the gauges of queries and keys have to be orthogonal");
  }
  if (!own_gains) return moved_weights(move, group);
  const GainMove<S> gains = gain_move(qk);
  require_same_size("a QK gauge and the gain of keys", qk.linear.size(), group.gain.size());
  GroupMove<S> turn = move;
  turn.second.first = gains.turn;
  KvGroup<S> moved = moved_weights(turn, group);
  moved.gain *= gains.sizes.transpose();
  for (QueryHead<S>& reader : moved.readers) reader.gain *= gains.inverse;
  return moved;
}

template <Scalar S>
AttentionWeights<S> act(const AttentionElement<S>& element, const AttentionWeights<S>& weights) {
  if (weights.key_gain.size() > 0) {
    const auto [rest, gains] = shared_gain_move(element);
    AttentionWeights<S> turned = weights;
    turned.query_gain.resize(0);
    turned.key_gain.resize(0);
    turned = act(rest, turned);
    turned.query_gain = multiply(weights.query_gain, gains.inverse);
    turned.key_gain = multiply_nt(weights.key_gain, gains.sizes);
    return turned;
  }
  AttentionWeights<S> moved{act(element, weights.groups), weights.output_bias};
  for (Index j = 0; j < element.top.size(); ++j) {
    const RowVector<S>& shift = vo_gauge(element.local[j]).shift;
    if (is_zero(shift)) continue;
    if (moved.output_bias.size() == 0)
      throw ShapeError("a shift of the value bias needs a module with an output bias");
    for (const QueryHead<S>& reader : moved.groups[element.top(j)].readers)
      moved.output_bias -= multiply(shift, reader.output);
  }
  return moved;
}

template <Scalar S>
Permutation head_image(const AttentionElement<S>& element) {
  std::vector<Index> image;
  for (Index j = 0; j < element.top.size(); ++j) {
    const Permutation& order = reader_order(element.local[j]);
    for (Index i = 0; i < order.size(); ++i) image.push_back(element.top(j) * order.size() + order(i));
  }
  return Permutation::from_image(std::move(image));
}

template <Scalar S>
AttentionElement<S> identity_element(const AttentionConfig& config) {
  const GroupMove<S> stay{Permutation::identity(config.readers_per_group()),
                          {Affine<S>::identity(config.key_width), Affine<S>::identity(config.value_width)}};
  return {std::vector<GroupMove<S>>(config.groups, stay), Permutation::identity(config.groups)};
}

template KvGroup<float> act(const GroupMove<float>&, const KvGroup<float>&);
template KvGroup<double> act(const GroupMove<double>&, const KvGroup<double>&);
template KvGroup<Float50> act(const GroupMove<Float50>&, const KvGroup<Float50>&);
template KvGroup<Rational> act(const GroupMove<Rational>&, const KvGroup<Rational>&);

template AttentionWeights<float> act(const AttentionElement<float>&, const AttentionWeights<float>&);
template AttentionWeights<double> act(const AttentionElement<double>&, const AttentionWeights<double>&);
template AttentionWeights<Float50> act(const AttentionElement<Float50>&, const AttentionWeights<Float50>&);
template AttentionWeights<Rational> act(const AttentionElement<Rational>&, const AttentionWeights<Rational>&);

template Permutation head_image(const AttentionElement<float>&);
template Permutation head_image(const AttentionElement<double>&);
template Permutation head_image(const AttentionElement<Float50>&);
template Permutation head_image(const AttentionElement<Rational>&);

template AttentionElement<float> identity_element(const AttentionConfig&);
template AttentionElement<double> identity_element(const AttentionConfig&);
template AttentionElement<Float50> identity_element(const AttentionConfig&);
template AttentionElement<Rational> identity_element(const AttentionConfig&);

}  // namespace attnsym
