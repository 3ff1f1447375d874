#include "symmetry/mla_symmetry.hpp"

#include <cmath>

#include "symmetry/describe_gauges.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/random_gauge.hpp"

namespace attnsym {
namespace {

template <Scalar S>
MlaLatent<S> moved_latent(const MlaLatentMove<S>& move, const MlaLatent<S>& latent) {
  require_same_size("the gauge of a latent and its width", move.first.size(), latent.down.cols());
  require_same_size("what moves gains and their number", move.second.size(), latent.gain.size());
  return {multiply_nt(latent.down, move.first.matrix()), multiply(latent.gain, move.second.matrix())};
}

// What reads a latent after it was moved: gain'^-1 U gain B.
template <Scalar S>
Matrix<S> carried(const MlaLatentMove<S>& move, const MlaLatent<S>& before, const MlaLatent<S>& after,
                  const Matrix<S>& reading) {
  if ((after.gain.array() == S(0)).any()) throw SingularError("the gain of a latent is zero");
  const Matrix<S> seen = before.gain.asDiagonal() * reading;
  return after.gain.cwiseInverse().asDiagonal() * multiply(move.first.matrix(), seen);
}

template <Scalar S>
MlaHead<S> moved_head(const MlaHeadMove<S>& move, const GeneralLinear<S>& rotary, const MlaHead<S>& head) {
  require_same_size("the gauge of keys and their width", move.first.size(), head.key.cols());
  require_same_size("the gauge of values and their width", move.second.size(), head.value.cols());
  return {multiply(head.query, move.first.inverse_matrix()),
          multiply(head.rotary_query, rotary.inverse_matrix()), multiply_nt(head.key, move.first.matrix()),
          multiply_nt(head.value, move.second.matrix()),
          multiply_tn(move.second.inverse_matrix(), head.output)};
}

template <Scalar S>
GeneralLinear<S> drawn(Random& random, Index size, const std::vector<GaugeBlock>& blocks, double condition,
                       bool monomial) {
  if (monomial) return random_monomial<S>(random, size, blocks, condition);
  if constexpr (RealScalar<S>) {
    return random_gauge<S>(random, size, blocks, condition);
  } else {
    throw ShapeError("a random rational gauge must be monomial");
  }
}

// Signs times numbers in geometric progression in random order; powers of two if monomial.
template <Scalar S>
GeneralLinear<S> drawn_gains(Random& random, Index size, double condition, bool monomial) {
  std::vector<GaugeBlock> single;
  for (Index k = 0; k < size; ++k) single.push_back({0, 0, {k}, {}, {}});
  return drawn<S>(random, size, single, condition, monomial);
}

template <Scalar S>
MlaLatentMove<S> drawn_latent(Random& random, Index size, const SampleOptions& options) {
  return {drawn<S>(random, size, {real_block(size)}, 1, options.monomial),
          drawn_gains<S>(random, size, options.condition, options.monomial)};
}

template <Scalar S>
bool is_finite(const GeneralLinear<S>& gauge) {
  if constexpr (RealScalar<S>) return gauge.matrix().allFinite();
  return true;
}

template <Scalar S>
bool is_latent_move(const MlaLatentMove<S>& move, Index size) {
  if (move.first.size() != size || move.second.size() != size) return false;
  const Matrix<S> diagonal = move.second.matrix().diagonal().asDiagonal();
  return is_finite(move.first) && is_isometry(move.first) && is_finite(move.second) &&
         move.second.matrix() == diagonal;
}

Index latent_dimension(Index size, double epsilon) {
  return size + size * (size - 1) / 2 + (epsilon > 0 ? 0 : 1);
}

std::string describe_latent(Index size, const char* of, double epsilon) {
  const std::string n = std::to_string(size);
  return "; O(" + n + ")" + (epsilon > 0 ? "" : " x R>0") + " and (R^x)^" + n +
         " on the gains of the latent of " + of;
}

}  // namespace

std::vector<GaugeBlock> rotary_blocks(const MlaConfig& config) {
  AttentionConfig part;  // the rotary key as the keys of an attention module: what gauge_blocks looks at
  part.key_width = config.rotary_width();
  part.rotary = config.rotary;
  return gauge_blocks(part);
}

template <Scalar S>
MlaWeights<S> act(const MlaElement<S>& element, const MlaWeights<S>& weights) {
  const GeneralLinear<S>& rotary = rotary_gauge(element);
  require_same_size("the gauge of the rotary key and its width", rotary.size(), weights.rotary_key.cols());
  require_same_size("the moves of heads and the heads", element.first.local.size(), weights.heads.size());
  MlaWeights<S> moved{moved_latent(query_latent_move(element), weights.query),
                      moved_latent(kv_latent_move(element), weights.kv),
                      multiply_nt(weights.rotary_key, rotary.matrix()),
                      {}};
  for (std::size_t i = 0; i < weights.heads.size(); ++i) {
    MlaHead<S> head = moved_head(element.first.local[i], rotary, weights.heads[i]);
    for (Matrix<S>* reading : {&head.query, &head.rotary_query})
      *reading = carried(query_latent_move(element), weights.query, moved.query, *reading);
    for (Matrix<S>* reading : {&head.key, &head.value})
      *reading = carried(kv_latent_move(element), weights.kv, moved.kv, *reading);
    moved.heads.push_back(std::move(head));
  }
  moved.heads = act(element.first.top, std::move(moved.heads));
  return moved;
}

MlaSymmetryGroup symmetry_of(const MlaConfig& config) {
  config.validate();
  return MlaSymmetryGroup(config);
}

MlaSymmetryGroup::MlaSymmetryGroup(MlaConfig config)
    : config_(std::move(config)), blocks_(rotary_blocks(config_)) {}

template <Scalar S>
MlaElement<S> MlaSymmetryGroup::identity() const {
  const auto one = [](Index size) { return GeneralLinear<S>::identity(size); };
  const MlaHeadMove<S> stay{one(config_.key_width), one(config_.value_width)};
  return {{std::vector<MlaHeadMove<S>>(config_.heads, stay), Permutation::identity(config_.heads)},
          {one(config_.rotary_width()),
           {{one(config_.query_latent), one(config_.query_latent)},
            {one(config_.kv_latent), one(config_.kv_latent)}}}};
}

template <Scalar S>
MlaElement<S> MlaSymmetryGroup::sample(Random& random, const SampleOptions& options) const {
  if (!(options.condition >= 1) || !std::isfinite(options.condition))
    throw ShapeError("the condition number of a gauge must be finite and at least 1");
  MlaElement<S> element = identity<S>();
  if (options.heads) element.first.top = random_permutation(random, config_.heads);
  const auto gauge = [&](Index size, const std::vector<GaugeBlock>& blocks) {
    return drawn<S>(random, size, blocks, options.condition, options.monomial);
  };
  for (MlaHeadMove<S>& move : element.first.local) {
    if (options.qk) move.first = gauge(config_.key_width, {real_block(config_.key_width)});
    if (options.vo) move.second = gauge(config_.value_width, {real_block(config_.value_width)});
  }
  if (!options.qk) return element;
  element.second.first = gauge(config_.rotary_width(), blocks_);
  element.second.second = {drawn_latent<S>(random, config_.query_latent, options),
                           drawn_latent<S>(random, config_.kv_latent, options)};
  return element;
}

template <Scalar S>
bool MlaSymmetryGroup::contains(const MlaElement<S>& element) const {
  const auto& heads = element.first;
  if (heads.top.size() != config_.heads || static_cast<Index>(heads.local.size()) != config_.heads)
    return false;
  for (const MlaHeadMove<S>& move : heads.local) {
    if (move.first.size() != config_.key_width || move.second.size() != config_.value_width) return false;
    if (!is_finite(move.first) || !is_finite(move.second)) return false;
  }
  const GeneralLinear<S>& rotary = rotary_gauge(element);
  return rotary.size() == config_.rotary_width() && is_finite(rotary) &&
         commutes_with_positions(rotary.matrix(), blocks_) &&
         is_latent_move(query_latent_move(element), config_.query_latent) &&
         is_latent_move(kv_latent_move(element), config_.kv_latent);
}

Index MlaSymmetryGroup::dimension() const {
  Index rotary = 0;
  for (const GaugeBlock& block : blocks_) rotary += block.dimension();
  const Index per_head = config_.key_width * config_.key_width + config_.value_width * config_.value_width;
  return config_.heads * per_head + rotary + latent_dimension(config_.query_latent, config_.epsilon) +
         latent_dimension(config_.kv_latent, config_.epsilon);
}

std::string MlaSymmetryGroup::describe() const {
  return "S_" + std::to_string(config_.heads) + "; per head GL(" + std::to_string(config_.key_width) +
         ") on what is not turned of Q-K and GL(" + std::to_string(config_.value_width) + ") on V-O; " +
         describe_gauges(blocks_, false) + " on the rotary key of all heads" +
         describe_latent(config_.query_latent, "queries", config_.epsilon) +
         describe_latent(config_.kv_latent, "keys and values", config_.epsilon);
}

template MlaWeights<float> act(const MlaElement<float>&, const MlaWeights<float>&);
template MlaWeights<double> act(const MlaElement<double>&, const MlaWeights<double>&);
template MlaWeights<Float50> act(const MlaElement<Float50>&, const MlaWeights<Float50>&);
template MlaWeights<Rational> act(const MlaElement<Rational>&, const MlaWeights<Rational>&);

template MlaElement<float> MlaSymmetryGroup::identity() const;
template MlaElement<double> MlaSymmetryGroup::identity() const;
template MlaElement<Float50> MlaSymmetryGroup::identity() const;
template MlaElement<Rational> MlaSymmetryGroup::identity() const;

template MlaElement<float> MlaSymmetryGroup::sample(Random&, const SampleOptions&) const;
template MlaElement<double> MlaSymmetryGroup::sample(Random&, const SampleOptions&) const;
template MlaElement<Float50> MlaSymmetryGroup::sample(Random&, const SampleOptions&) const;
template MlaElement<Rational> MlaSymmetryGroup::sample(Random&, const SampleOptions&) const;

template bool MlaSymmetryGroup::contains(const MlaElement<float>&) const;
template bool MlaSymmetryGroup::contains(const MlaElement<double>&) const;
template bool MlaSymmetryGroup::contains(const MlaElement<Float50>&) const;
template bool MlaSymmetryGroup::contains(const MlaElement<Rational>&) const;

}  // namespace attnsym
