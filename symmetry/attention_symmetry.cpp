#include "symmetry/attention_symmetry.hpp"

#include "symmetry/errors.hpp"
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
  if (bias.size() > 0) return bias * gauge.linear.matrix().transpose() + gauge.shift;
  if (!is_zero(gauge.shift))
    throw ShapeError(std::string("a shift of the ") + name + " bias needs a module that has one");
  return bias;
}

template <class S>
QueryHead<S> moved_reader(const Gauges<S>& gauges, const QueryHead<S>& reader) {
  const Matrix<S>& a_inverse = gauges.first.linear.inverse_matrix();
  const Matrix<S>& c_inverse = gauges.second.linear.inverse_matrix();
  QueryHead<S> moved{reader.query * a_inverse, c_inverse.transpose() * reader.output, reader.query_bias,
                     reader.sink};
  if (reader.query_bias.size() > 0) moved.query_bias = reader.query_bias * a_inverse;
  return moved;
}

// An element of a module with norms in two parts: what moves weights, with signed permutations for QK gauges,
// and what moves gains, which are rows: key gains by x -> x sizes^T, query gains by x -> x inverse.
template <Scalar S>
struct GainMove {
  AttentionElement<S> rest;
  Matrix<S> sizes;
  Matrix<S> inverse;
};

template <Scalar S>
GainMove<S> gain_move(const AttentionElement<S>& element) {
  GainMove<S> result{element, {}, {}};
  const GeneralLinear<S>& first = qk_gauge(element.local.front()).linear;
  for (GroupMove<S>& move : result.rest.local) {
    Affine<S>& qk = move.second.first;
    const auto parts = signed_gains(qk.linear);
    if (!parts || !share_gains(qk.linear, first))
      throw ShapeError(
          "where queries and keys are normalised their gauges have to be signed permutations times sizes "
          "that "
          "all groups share");
    if (!is_zero(qk.shift)) throw ShapeError("the key bias of normalised keys cannot be shifted");
    qk.linear = parts->turn;
    result.sizes = parts->stretch.asDiagonal() * parts->turn.matrix().cwiseAbs();
    result.inverse = parts->turn.matrix().cwiseAbs().transpose() * parts->stretch.cwiseInverse().asDiagonal();
  }
  return result;
}

}  // namespace

template <Scalar S>
KvGroup<S> act(const GroupMove<S>& move, const KvGroup<S>& group) {
  const Affine<S>& qk = qk_gauge(move);
  const Affine<S>& vo = vo_gauge(move);
  require_same_size("a QK gauge and the keys", qk.linear.size(), group.key.cols());
  require_same_size("a VO gauge and the values", vo.linear.size(), group.value.cols());
  KvGroup<S> moved{group.key * qk.linear.matrix().transpose(),
                   group.value * vo.linear.matrix().transpose(),
                   moved_bias(qk, group.key_bias, "key"),
                   moved_bias(vo, group.value_bias, "value"),
                   {}};
  for (const QueryHead<S>& reader : group.readers) moved.readers.push_back(moved_reader(move.second, reader));
  moved.readers = act(reader_order(move), std::move(moved.readers));
  return moved;
}

template <Scalar S>
AttentionWeights<S> act(const AttentionElement<S>& element, const AttentionWeights<S>& weights) {
  if (weights.key_gain.size() > 0) {
    const GainMove<S> move = gain_move(element);
    AttentionWeights<S> turned = weights;
    turned.query_gain.resize(0);
    turned.key_gain.resize(0);
    turned = act(move.rest, turned);
    turned.query_gain = weights.query_gain * move.inverse;
    turned.key_gain = weights.key_gain * move.sizes.transpose();
    return turned;
  }
  AttentionWeights<S> moved{act(element, weights.groups), weights.output_bias};
  for (Index j = 0; j < element.top.size(); ++j) {
    const RowVector<S>& shift = vo_gauge(element.local[j]).shift;
    if (is_zero(shift)) continue;
    if (moved.output_bias.size() == 0)
      throw ShapeError("a shift of the value bias needs a module with an output bias");
    for (const QueryHead<S>& reader : moved.groups[element.top(j)].readers)
      moved.output_bias -= shift * reader.output;
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
