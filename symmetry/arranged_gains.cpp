#include "symmetry/arranged_gains.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "symmetry/gains.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/random.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t sign_probe_salt = 0x7369676e;

// The signs of gains, which are made positive; empty if they are.
template <RealScalar S>
RowVector<S> taken_signs(RowVector<S>& gain) {
  if (!(gain.array() < S(0)).any()) return {};
  const RowVector<S> signs = gain.unaryExpr([](const S& x) { return x < S(0) ? S(-1) : S(1); });
  gain = gain.cwiseProduct(signs);
  return signs;
}

// Moves signs to the columns of a weight and to its bias, which may be absent; a temperature has one for all.
template <RealScalar S>
void flip(Matrix<S>& weight, RowVector<S>& bias, const RowVector<S>& signs) {
  if (signs.size() == 1 && weight.cols() > 1)
    return flip<S>(weight, bias, RowVector<S>::Constant(weight.cols(), signs(0)));
  weight *= signs.asDiagonal();
  if (bias.size() > 0) bias = bias.cwiseProduct(signs);
}

// Moves the signs of gains to what they multiply. @return whether there were any
template <RealScalar S>
bool make_positive(AttentionWeights<S>& weights) {
  const RowVector<S> of_queries = taken_signs(weights.query_gain);
  const RowVector<S> of_keys = taken_signs(weights.key_gain);
  bool moved = false;
  const auto move = [&](Matrix<S>& weight, RowVector<S>& bias, const RowVector<S>& signs) {
    if (signs.size() == 0) return;
    flip<S>(weight, bias, signs);
    moved = true;
  };
  for (KvGroup<S>& group : weights.groups) {
    move(group.key, group.key_bias, of_keys);
    move(group.key, group.key_bias, taken_signs(group.gain));
    for (QueryHead<S>& reader : group.readers) {
      move(reader.query, reader.query_bias, of_queries);
      move(reader.query, reader.query_bias, taken_signs(reader.gain));
    }
  }
  return moved;
}

// The root mean square over the readers of a group, coordinate by coordinate, of their gains.
template <RealScalar S>
RowVector<S> typical_query_gain(const AttentionWeights<S>& weights, const AttentionConfig& config,
                                Index group) {
  if (config.qk_norm->gains == QkGains::Shared) return weights.query_gain;
  const Index r = config.readers_per_group();
  RowVector<S> squares = RowVector<S>::Zero(config.key_width);
  for (Index i = 0; i < r; ++i) squares += query_gain(weights, config, r * group + i).cwiseAbs2();
  return (squares / S(r)).cwiseSqrt();
}

// One coordinate of a real block, or a pair: its products of gains, and by what key gains have to be
// stretched to be as large as query gains.
template <RealScalar S>
struct Coordinate {
  S first;
  S second;
  S stretch;
  bool turned;  // by a quarter, so that the larger product comes first
};

template <RealScalar S>
Coordinate<S> coordinate(const GaugeBlock& block, Index k, const RowVector<S>& query,
                         const RowVector<S>& key) {
  using std::sqrt;
  std::vector<Index> columns{block.real[k]};
  if (block.is_complex()) columns.push_back(block.imaginary[k]);
  S of_queries(0);
  S of_keys(0);
  for (const Index column : columns) {
    of_queries += query(column) * query(column);
    of_keys += key(column) * key(column);
  }
  const S stretch = of_queries > S(0) && of_keys > S(0) ? S(sqrt(sqrt(S(of_queries / of_keys)))) : S(1);
  const S first = query(columns.front()) * key(columns.front());
  const S second = query(columns.back()) * key(columns.back());
  return {std::max(first, second), std::min(first, second), stretch, first < second};
}

template <RealScalar S>
S relative_gap(const Coordinate<S>& larger, const Coordinate<S>& smaller) {
  return larger.first > S(0) ? S((larger.first - smaller.first) / larger.first) : S(0);
}

// A signed permutation with stretches and its inverse, block by block.
template <RealScalar S>
struct Arrangement {
  Matrix<S> matrix;
  Matrix<S> inverse;
  S margin{1};

  explicit Arrangement(Index size) : matrix(Matrix<S>::Zero(size, size)), inverse(matrix) {}

  void add(const GaugeBlock& block, const RowVector<S>& query, const RowVector<S>& key) {
    const Index n = block.size();
    std::vector<Coordinate<S>> all;
    for (Index k = 0; k < n; ++k) all.push_back(coordinate<S>(block, k, query, key));
    std::vector<Index> order(all.size());
    std::iota(order.begin(), order.end(), Index{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](Index x, Index y) { return all[y].first < all[x].first; });
    const Matrix<S> zero = Matrix<S>::Zero(n, n);
    Matrix<S> there[2] = {zero, zero};  // real, imaginary
    Matrix<S> back[2] = {zero, zero};
    for (Index place = 0; place < n; ++place) {
      const Coordinate<S>& one = all[order[place]];
      there[one.turned](place, order[place]) = one.stretch;
      back[one.turned](order[place], place) = S(one.turned ? -1 : 1) / one.stretch;
      if (place > 0) margin = std::min(margin, relative_gap<S>(all[order[place - 1]], one));
      if (block.is_complex() && one.first > S(0))
        margin = std::min(margin, S((one.first - one.second) / one.first));
    }
    set_block<S>(matrix, block, there[0], there[1]);
    set_block<S>(inverse, block, back[0], back[1]);
  }
};

}  // namespace

template <RealScalar S>
ArrangedGains<S> arrange_gains(const AttentionWeights<S>& weights, const AttentionConfig& config) {
  ArrangedGains<S> result{weights, {}, S(1)};
  const bool in_orbit = !make_positive(result.weights);
  AttentionElement<S> element = identity_element<S>(config);
  for (Index j = 0; config.qk_norm->gains != QkGains::Temperature && j < config.groups; ++j) {
    const RowVector<S> queries = typical_query_gain(result.weights, config, j);
    const RowVector<S> keys = key_gain(result.weights, config, j);
    Arrangement<S> arrangement(config.key_width);
    for (const GaugeBlock& block : gauge_blocks(config)) arrangement.add(block, queries, keys);
    result.margin = std::min(result.margin, arrangement.margin);
    element.local[j].second.first.linear = GeneralLinear<S>::from_matrix_and_inverse(
        std::move(arrangement.matrix), std::move(arrangement.inverse));
  }
  result.weights = act(element, result.weights);
  if (in_orbit) result.from_input = std::move(element);
  return result;
}

template <RealScalar S>
BalancedScores<S> fix_signs(const Matrix<S>& queries, const Matrix<S>& keys,
                            const std::vector<GaugeBlock>& blocks) {
  using std::abs;
  const Matrix<S> probe = fixed_probe<S>(keys.rows(), 1, sign_probe_salt);
  Matrix<S> signs = Matrix<S>::Identity(keys.cols(), keys.cols());
  BalancedScores<S> result;
  std::vector<S> sizes;
  for (const GaugeBlock& block : blocks) {
    for (Index k = 0; k < block.size(); ++k) {
      const Matrix<S> column = keys.col(block.real[k]);
      const S seen = probe.col(0).dot(column.col(0));
      const S size = S(probe.norm() * column.norm());
      if (size > S(0)) result.all.sign_margin = std::min(result.all.sign_margin, S(abs(seen) / size));
      if (seen < S(0)) {
        signs(block.real[k], block.real[k]) = S(-1);
        if (block.is_complex()) signs(block.imaginary[k], block.imaginary[k]) = S(-1);
      }
      result.sigma.push_back(RowVector<S>::Constant(1, S(queries.col(block.real[k]).norm() * column.norm())));
    }
  }
  result.all.left = multiply(queries, signs);
  result.all.right = multiply(keys, signs);
  for (Index k = 0; k < keys.cols(); ++k) sizes.push_back(S(queries.col(k).norm() * keys.col(k).norm()));
  std::sort(sizes.rbegin(), sizes.rend());
  result.all.sigma = Eigen::Map<const RowVector<S>>(sizes.data(), keys.cols());
  result.all.rank =
      static_cast<Index>(std::count_if(sizes.begin(), sizes.end(), [](const S& s) { return s > S(0); }));
  result.all.linear = GeneralLinear<S>::from_matrix_and_inverse(signs, signs);
  return result;
}

template ArrangedGains<float> arrange_gains(const AttentionWeights<float>&, const AttentionConfig&);
template ArrangedGains<double> arrange_gains(const AttentionWeights<double>&, const AttentionConfig&);
template ArrangedGains<Float50> arrange_gains(const AttentionWeights<Float50>&, const AttentionConfig&);
template BalancedScores<float> fix_signs(const Matrix<float>&, const Matrix<float>&,
                                         const std::vector<GaugeBlock>&);
template BalancedScores<double> fix_signs(const Matrix<double>&, const Matrix<double>&,
                                          const std::vector<GaugeBlock>&);
template BalancedScores<Float50> fix_signs(const Matrix<Float50>&, const Matrix<Float50>&,
                                           const std::vector<GaugeBlock>&);

}  // namespace attnsym
