#include "symmetry/arranged_gains.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "symmetry/random.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t sign_probe_salt = 0x7369676e;

// Moves the signs of gains to what they multiply. @return whether there were any
template <RealScalar S>
bool make_positive(AttentionWeights<S>& weights) {
  bool moved = false;
  const auto flip = [&](RowVector<S>& gain, auto visit) {
    for (Index k = 0; k < gain.size(); ++k) {
      if (!(gain(k) < S(0))) continue;
      gain(k) = -gain(k);
      moved = true;
      for (KvGroup<S>& group : weights.groups) visit(group, k);
    }
  };
  flip(weights.key_gain, [](KvGroup<S>& group, Index k) {
    group.key.col(k) *= S(-1);
    if (group.key_bias.size() > 0) group.key_bias(k) *= S(-1);
  });
  flip(weights.query_gain, [](KvGroup<S>& group, Index k) {
    for (QueryHead<S>& reader : group.readers) {
      reader.query.col(k) *= S(-1);
      if (reader.query_bias.size() > 0) reader.query_bias(k) *= S(-1);
    }
  });
  return moved;
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
  Arrangement<S> arrangement(config.key_width);
  for (const GaugeBlock& block : gauge_blocks(config))
    arrangement.add(block, result.weights.query_gain, result.weights.key_gain);
  AttentionElement<S> element = identity_element<S>(config);
  for (GroupMove<S>& move : element.local) {
    move.second.first.linear =
        GeneralLinear<S>::from_matrix_and_inverse(arrangement.matrix, arrangement.inverse);
  }
  result.weights = act(element, result.weights);
  result.margin = arrangement.margin;
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
  result.all.left = queries * signs;
  result.all.right = keys * signs;
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
