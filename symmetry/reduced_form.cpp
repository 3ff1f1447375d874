#include "symmetry/reduced_form.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "symmetry/circuits.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/random.hpp"

namespace attnsym {
namespace {

constexpr Index probe_count = 4;
constexpr std::uint64_t probe_salt = 0x72656475;

// x_t^T C y_t of the circuits of every head, for a few fixed pseudo-random x_t, y_t: what tells nearly all
// heads apart for the price of a few inner products.
template <RealScalar S>
struct CircuitProbes {
  Matrix<S> qk;  ///< heads x probe_count
  Matrix<S> vo;
};

template <RealScalar S>
CircuitProbes<S> probe_circuits(const AttentionWeights<S>& weights, const AttentionConfig& config) {
  const Index d = config.model_width;
  const Index r = config.readers_per_group();
  const Matrix<S> probe = fixed_probe<S>(d + 1, 4 * probe_count, probe_salt);
  const auto block = [&](Index k) { return probe.middleCols(k * probe_count, probe_count); };
  CircuitProbes<S> result{Matrix<S>(config.heads, probe_count), Matrix<S>(config.heads, probe_count)};
  for (Index j = 0; j < config.groups; ++j) {
    const KvGroup<S>& group = weights.groups[j];
    const Matrix<S> keys = multiply_tn(block(0).topRows(d), group.key);
    Matrix<S> values = multiply_tn(block(1).topRows(d), group.value);
    if (carries_value_bias(config)) add_product_tn(values, block(1).row(d), group.value_bias);
    for (Index i = 0; i < r; ++i) {
      const QueryHead<S>& reader = group.readers[i];
      Matrix<S> queries = multiply_tn(block(2).topRows(d), reader.query);
      if (reader.query_bias.size() > 0) add_product_tn(queries, block(2).row(d), reader.query_bias);
      const Matrix<S> outputs = multiply(reader.output, block(3).topRows(d));
      result.qk.row(r * j + i) = queries.cwiseProduct(keys).rowwise().sum().transpose();
      result.vo.row(r * j + i) = values.cwiseProduct(outputs.transpose()).rowwise().sum().transpose();
    }
  }
  return result;
}

// The estimated size of a circuit from its probes: the entries of x and y are uniform on [-1, 1], so |x^T E
// y| is |E| / 3 on average.
template <class Probes>
auto estimated_norm(const Probes& probes) {
  using S = typename Probes::Scalar;
  using std::sqrt;
  return S(3 * probes.norm() / sqrt(S(probe_count)));
}

// A circuit of which one entry is nearly all has probes of up to its norm.
constexpr double largest_underestimate = 6;

template <RealScalar S>
S hypotenuse(const S& a, const S& b) {
  using std::sqrt;
  return sqrt(a * a + b * b);
}

template <RealScalar S>
class Reducer {
 public:
  Reducer(const AttentionWeights<S>& weights, const AttentionConfig& config,
          const HeadPrecision<S>& precision)
      : weights_(weights), config_(config), precision_(precision), probes_(probe_circuits(weights, config)) {}

  ReducedForm<S> operator()() {
    find_classes();
    if (config_.readers_per_group() == 1) {
      for (std::size_t k = 0; k < result_.classes.size(); ++k) add_merged_heads(static_cast<Index>(k));
    } else {
      for (Index j = 0; j < config_.groups; ++j) add_group(j);
      for (Index i = 0; i < config_.heads; ++i) note_shared_circuits(i);
    }
    return std::move(result_);
  }

 private:
  Index group_of(Index head) const { return head / config_.readers_per_group(); }
  bool may_be_merged(Index i, Index j) const {
    return config_.readers_per_group() == 1 || group_of(i) == group_of(j);
  }

  // The estimated distance of two QK circuits in units of the largest that counts as none.
  S distance(Index i, Index j) const {
    const S noise = hypotenuse(precision_.qk_noise[i], precision_.qk_noise[j]);
    const S apart = estimated_norm(RowVector<S>(probes_.qk.row(i) - probes_.qk.row(j)));
    if (!(apart > 0)) return S(0);
    return noise > 0 ? S(apart / (2 * precision_.slack * noise)) : std::numeric_limits<S>::infinity();
  }

  bool same_qk(Index i, Index j) const {
    if (config_.qk_norm || config_.output_gate) return i == j;
    return distance(i, j) <= largest_underestimate && precision_.same_qk(i, j);
  }

  void find_classes() {
    for (Index head = 0; head < config_.heads; ++head) {
      const auto home = std::find_if(
          result_.classes.begin(), result_.classes.end(), [&](const std::vector<Index>& members) {
            return may_be_merged(members.front(), head) && same_qk(members.front(), head);
          });
      if (home == result_.classes.end()) {
        result_.classes.push_back({head});
      } else {
        home->push_back(head);
      }
    }
  }

  // The distance of a class to the nearest with which it could have been merged.
  S merge_margin(const std::vector<Index>& heads) const {
    S nearest = std::numeric_limits<S>::infinity();
    for (const std::vector<Index>& other : result_.classes) {
      if (&other == &heads || !may_be_merged(heads.front(), other.front())) continue;
      nearest = std::min(nearest, distance(heads.front(), other.front()));
    }
    return nearest;
  }

  S vo_noise(const std::vector<Index>& heads) const {
    S noise{0};
    for (const Index head : heads) noise = hypotenuse(noise, precision_.vo_noise[head]);
    return noise;
  }

  // Whether the OV circuits of these readers, of which `group` holds the sum in this one, cancel.
  bool cancels(const std::vector<Index>& heads, const KvGroup<S>& group, Index reader) const {
    const S noise = vo_noise(heads);
    RowVector<S> probes = RowVector<S>::Zero(probe_count);
    for (const Index head : heads) probes += probes_.vo.row(head);
    const S largest = precision_.slack * noise;
    if (estimated_norm(probes) > largest_underestimate * largest) return false;
    const RowVector<S> no_bias;
    const Matrix<S> values =
        homogeneous(group.value, carries_value_bias(config_) ? group.value_bias : no_bias);
    return norm(Circuit<S>{values, group.readers[reader].output.transpose()}) <= largest;
  }

  // The heads of a class as one head that is as wide as they are together.
  KvGroup<S> beside_each_other(const std::vector<Index>& heads) const {
    const Index width = config_.value_width;
    const Index total = width * static_cast<Index>(heads.size());
    const KvGroup<S>& first = weights_.groups[heads.front()];
    KvGroup<S> result = first;
    result.value.resize(first.value.rows(), total);
    if (first.value_bias.size() > 0) result.value_bias.resize(total);
    result.readers.front().output.resize(total, config_.model_width);
    for (std::size_t k = 0; k < heads.size(); ++k) {
      const KvGroup<S>& group = weights_.groups[heads[k]];
      result.value.middleCols(width * k, width) = group.value;
      if (first.value_bias.size() > 0) result.value_bias.segment(width * k, width) = group.value_bias;
      result.readers.front().output.middleRows(width * k, width) = group.readers.front().output;
    }
    return result;
  }

  void add_merged_heads(Index number) {
    const std::vector<Index>& heads = result_.classes[number];
    ReducedGroup<S> reduced;
    reduced.groups = heads;
    reduced.reader_class = {number};
    reduced.qk_noise = precision_.qk_noise[heads.front()];
    reduced.vo_noise = vo_noise(heads);
    reduced.merge_margin = merge_margin(heads);
    if (heads.size() > 1) reduced.merged = beside_each_other(heads);
    result_.groups.push_back(std::move(reduced));
  }

  void add_group(Index j) {
    const Index r = config_.readers_per_group();
    ReducedGroup<S> reduced;
    reduced.groups = {j};
    reduced.merge_margin = std::numeric_limits<S>::infinity();
    reduced.reader_class.assign(static_cast<std::size_t>(r), no_class);
    const auto merged = [&]() -> KvGroup<S>& {
      if (!reduced.merged) reduced.merged = weights_.groups[j];
      return *reduced.merged;
    };
    for (std::size_t k = 0; k < result_.classes.size(); ++k) {
      const std::vector<Index>& heads = result_.classes[k];
      if (group_of(heads.front()) != j) continue;
      const Index first = heads.front() - r * j;
      for (auto head = heads.begin() + 1; head != heads.end(); ++head) {
        QueryHead<S>& other = merged().readers[*head - r * j];
        merged().readers[first].output += other.output;
        set_zero(other);
      }
      if (config_.unused_heads_are_free() && cancels(heads, reduced.group(weights_), first)) {
        set_zero(merged().readers[first]);
        continue;
      }
      reduced.reader_class[first] = static_cast<Index>(k);
      reduced.qk_noise = hypotenuse(reduced.qk_noise, precision_.qk_noise[heads.front()]);
      reduced.vo_noise = hypotenuse(reduced.vo_noise, vo_noise(heads));
      reduced.merge_margin = std::min(reduced.merge_margin, merge_margin(heads));
    }
    result_.groups.push_back(std::move(reduced));
  }

  void note_shared_circuits(Index i) {
    if (is_zero(i)) return;
    for (Index j = 0; j < i; ++j) {
      if (group_of(i) == group_of(j) || is_zero(j) || !same_qk(i, j)) continue;
      result_.groups[group_of(i)].shares_a_circuit = true;
      result_.groups[group_of(j)].shares_a_circuit = true;
    }
  }

  bool is_zero(Index head) const {
    return result_.groups[group_of(head)].reader_class[head % config_.readers_per_group()] == no_class;
  }

  const AttentionWeights<S>& weights_;
  const AttentionConfig& config_;
  const HeadPrecision<S>& precision_;
  CircuitProbes<S> probes_;
  ReducedForm<S> result_;
};

}  // namespace

template <RealScalar S>
void set_zero(QueryHead<S>& reader) {
  reader.query.setZero();
  reader.query_bias.setZero();
  reader.output.setZero();
  reader.sink.setZero();
  reader.gain.setZero();
  reader.distance_bias.setZero();
  reader.gate.setZero();
  reader.gate_bias.setZero();
}

template <RealScalar S>
ReducedForm<S> reduce(const AttentionWeights<S>& weights, const AttentionConfig& config,
                      const HeadPrecision<S>& precision) {
  return Reducer<S>(weights, config, precision)();
}

template void set_zero(QueryHead<float>&);
template void set_zero(QueryHead<double>&);
template void set_zero(QueryHead<Float50>&);
template ReducedForm<float> reduce(const AttentionWeights<float>&, const AttentionConfig&,
                                   const HeadPrecision<float>&);
template ReducedForm<double> reduce(const AttentionWeights<double>&, const AttentionConfig&,
                                    const HeadPrecision<double>&);
template ReducedForm<Float50> reduce(const AttentionWeights<Float50>&, const AttentionConfig&,
                                     const HeadPrecision<Float50>&);

}  // namespace attnsym
