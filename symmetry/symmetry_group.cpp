#include "symmetry/symmetry_group.hpp"

#include <cmath>

#include "symmetry/errors.hpp"
#include "symmetry/thin_qr.hpp"

namespace attnsym {
namespace {

Permutation random_permutation(Random& random, Index size, bool move) {
  std::vector<Index> image = Permutation::identity(size).image();
  for (Index i = size - 1; move && i > 0; --i) std::swap(image[i], image[random.below(i + 1)]);
  return Permutation::from_image(std::move(image));
}

template <RealScalar S>
Matrix<S> random_orthogonal(Random& random, Index size) {
  Matrix<S> normal(size, size);
  for (Index i = 0; i < normal.size(); ++i) normal.data()[i] = S(random.normal());
  return ThinQr<S>(normal).times(Matrix<S>::Identity(size, size));
}

// U diag(c^1/2 ... c^-1/2) V^T with random rotations: every element has exactly the asked condition number,
// and neither side of a circuit is favoured.
template <RealScalar S>
GeneralLinear<S> random_gauge(Random& random, Index size, double condition) {
  const Matrix<S> u = random_orthogonal<S>(random, size);
  const Matrix<S> v = random_orthogonal<S>(random, size);
  RowVector<S> sigma(size);
  for (Index k = 0; k < size; ++k) {
    const double place = size == 1 ? 0 : 0.5 - static_cast<double>(k) / static_cast<double>(size - 1);
    sigma(k) = S(std::pow(condition, place));
  }
  return GeneralLinear<S>::from_matrix_and_inverse(u * sigma.asDiagonal() * v.transpose(),
                                                   v * sigma.cwiseInverse().asDiagonal() * u.transpose());
}

template <Scalar S>
GeneralLinear<S> random_monomial(Random& random, Index size, double condition) {
  const int largest_exponent = static_cast<int>(std::floor(std::log2(condition) / 2));
  const Permutation order = random_permutation(random, size, true);
  Matrix<S> matrix = Matrix<S>::Zero(size, size);
  Matrix<S> inverse = Matrix<S>::Zero(size, size);
  for (Index k = 0; k < size; ++k) {
    const int exponent = static_cast<int>(random.below(2 * largest_exponent + 1)) - largest_exponent;
    const double factor = std::ldexp(random.below(2) == 0 ? 1.0 : -1.0, exponent);
    matrix(order(k), k) = S(factor);
    inverse(k, order(k)) = S(1 / factor);
  }
  return GeneralLinear<S>::from_matrix_and_inverse(std::move(matrix), std::move(inverse));
}

template <Scalar S>
Affine<S> random_affine(Random& random, Index size, bool move, bool shift, const SampleOptions& options) {
  Affine<S> gauge = Affine<S>::identity(size);
  if (move) {
    if (options.monomial) {
      gauge.linear = random_monomial<S>(random, size, options.condition);
    } else if constexpr (RealScalar<S>) {
      gauge.linear = random_gauge<S>(random, size, options.condition);
    } else {
      throw ShapeError("a random rational gauge must be monomial");
    }
  }
  for (Index k = 0; shift && k < size; ++k) gauge.shift(k) = S(options.shift * random.normal());
  return gauge;
}

template <Scalar S>
bool allowed(const Affine<S>& gauge, Index size, bool may_shift) {
  if (gauge.linear.size() != size || gauge.shift.size() != size) return false;
  if (!may_shift && !(gauge.shift.array() == S(0)).all()) return false;
  if constexpr (RealScalar<S>) return gauge.linear.matrix().allFinite() && gauge.shift.allFinite();
  return true;
}

bool value_shift_is_free(const AttentionConfig& config) { return config.value_bias && config.output_bias; }

}  // namespace

SymmetryGroup symmetry_of(const AttentionConfig& config) {
  config.validate();
  return SymmetryGroup(config);
}

template <Scalar S>
AttentionElement<S> SymmetryGroup::sample(Random& random, const SampleOptions& options) const {
  if (!(options.condition >= 1) || !std::isfinite(options.condition)) {
    throw ShapeError("the condition number of a gauge must be finite and at least 1");
  }
  AttentionElement<S> element{{}, random_permutation(random, config_.groups, options.heads)};
  for (Index j = 0; j < config_.groups; ++j) {
    Permutation order = random_permutation(random, config_.readers_per_group(), options.readers);
    Affine<S> qk =
        random_affine<S>(random, config_.key_width, options.qk, options.bias && config_.key_bias, options);
    Affine<S> vo = random_affine<S>(random, config_.value_width, options.vo,
                                    options.bias && value_shift_is_free(config_), options);
    element.local.push_back({std::move(order), {std::move(qk), std::move(vo)}});
  }
  return element;
}

template <Scalar S>
bool SymmetryGroup::contains(const AttentionElement<S>& element) const {
  if (element.top.size() != config_.groups || static_cast<Index>(element.local.size()) != config_.groups)
    return false;
  for (const GroupMove<S>& move : element.local) {
    if (reader_order(move).size() != config_.readers_per_group()) return false;
    if (!allowed(qk_gauge(move), config_.key_width, config_.key_bias)) return false;
    if (!allowed(vo_gauge(move), config_.value_width, value_shift_is_free(config_))) return false;
  }
  return true;
}

Index SymmetryGroup::dimension() const {
  const Index g = config_.groups;
  const Index gauges =
      g * (config_.key_width * config_.key_width + config_.value_width * config_.value_width);
  const Index key_shift = config_.key_bias ? g * config_.key_width : 0;
  const Index values = config_.value_bias ? g * config_.value_width : 0;
  const Index value_shift = config_.output_bias ? values : std::max(Index{0}, values - config_.model_width);
  return gauges + key_shift + value_shift;
}

std::string SymmetryGroup::describe() const {
  const std::string r = std::to_string(config_.readers_per_group());
  const std::string g = std::to_string(config_.groups);
  const bool grouped = config_.readers_per_group() > 1;
  std::string text = grouped ? "S_" + r + " wr S_" + g : "S_" + g;
  text += std::string("; per ") + (grouped ? "group" : "head") + " GL(" + std::to_string(config_.key_width) +
          ") on Q-K and GL(" + std::to_string(config_.value_width) + ") on V-O";
  if (config_.key_bias) text += "; the key bias is free";
  if (config_.value_bias) {
    text += config_.output_bias ? "; the value bias moves into the output bias"
                                : "; the value bias moves in the kernel of the stacked outputs";
  }
  return text;
}

template AttentionElement<float> SymmetryGroup::sample(Random&, const SampleOptions&) const;
template AttentionElement<double> SymmetryGroup::sample(Random&, const SampleOptions&) const;
template AttentionElement<Float50> SymmetryGroup::sample(Random&, const SampleOptions&) const;
template AttentionElement<Rational> SymmetryGroup::sample(Random&, const SampleOptions&) const;

template bool SymmetryGroup::contains(const AttentionElement<float>&) const;
template bool SymmetryGroup::contains(const AttentionElement<double>&) const;
template bool SymmetryGroup::contains(const AttentionElement<Float50>&) const;
template bool SymmetryGroup::contains(const AttentionElement<Rational>&) const;

}  // namespace attnsym
