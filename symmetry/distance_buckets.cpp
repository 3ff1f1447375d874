#include "symmetry/distance_buckets.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// Of a distance in one direction, among `count` buckets.
Index t5_bucket(Index distance, Index count, Index max_distance) {
  const Index exact = count / 2;
  if (distance < exact) return distance;
  const float steps =
      std::log(static_cast<float>(distance) / static_cast<float>(exact)) /
      static_cast<float>(std::log(static_cast<double>(max_distance) / static_cast<double>(exact))) *
      static_cast<float>(count - exact);
  return std::min(exact + static_cast<Index>(steps), count - 1);
}

}  // namespace

std::vector<Index> t5_buckets(Index count, Index max_distance, bool bidirectional) {
  const Index each = bidirectional ? count / 2 : count;
  if (each < 2 || count % 2 != 0 || max_distance <= each / 2)
    throw ShapeError("there are no T5 buckets of count " + std::to_string(count) + " up to distance " +
                     std::to_string(max_distance));
  std::vector<Index> buckets;
  for (Index offset = -max_distance; offset <= max_distance; ++offset) {
    const Index distance = bidirectional ? std::abs(offset) : std::max(-offset, Index{0});
    const Index first = bidirectional && offset > 0 ? each : 0;
    buckets.push_back(first + t5_bucket(distance, each, max_distance));
  }
  return buckets;
}

std::vector<bool> read_buckets(const AttentionConfig& config) {
  std::vector<bool> read(static_cast<std::size_t>(config.bucket_count()), false);
  const auto reach = static_cast<Index>(config.distance_buckets.size() / 2);
  for (Index offset = -reach; !read.empty() && offset <= reach; ++offset) {
    if (config.shows(offset)) read[config.bucket(offset)] = true;
  }
  return read;
}

bool table_shift_is_free(const AttentionConfig& config) {
  return !config.distance_buckets.empty() && config.softcap == 0 && !config.sinks;
}

Index free_table_dimension(const AttentionConfig& config) {
  const std::vector<bool> read = read_buckets(config);
  return std::count(read.begin(), read.end(), false) + (table_shift_is_free(config) ? 1 : 0);
}

template <Scalar S>
AttentionWeights<S> with_settled_tables(AttentionWeights<S> weights, const AttentionConfig& config) {
  const std::vector<bool> read = read_buckets(config);
  for (KvGroup<S>& group : weights.groups) {
    for (QueryHead<S>& reader : group.readers) {
      const S shift = table_shift_is_free(config) ? S(reader.distance_bias(config.bucket(0))) : S(0);
      for (Index k = 0; k < reader.distance_bias.size(); ++k)
        reader.distance_bias(k) = read[k] ? S(reader.distance_bias(k) - shift) : S(0);
    }
  }
  return weights;
}

template <RealScalar S>
bool same_table(const AttentionConfig& config, const RowVector<S>& a, const RowVector<S>& b, const S& unit) {
  using std::abs;
  if (a.size() == 0) return true;
  const std::vector<bool> read = read_buckets(config);
  const bool free = table_shift_is_free(config);
  const Index here = config.bucket(0);
  for (Index k = 0; k < a.size(); ++k) {
    if (!read[k]) continue;
    S apart = a(k) - b(k);
    S size = abs(a(k)) + abs(b(k));
    if (free) {
      apart -= a(here) - b(here);
      size += abs(a(here)) + abs(b(here));
    }
    if (!(abs(apart) <= 2 * unit * size)) return false;
  }
  return true;
}

template AttentionWeights<float> with_settled_tables(AttentionWeights<float>, const AttentionConfig&);
template AttentionWeights<double> with_settled_tables(AttentionWeights<double>, const AttentionConfig&);
template AttentionWeights<Float50> with_settled_tables(AttentionWeights<Float50>, const AttentionConfig&);

template bool same_table(const AttentionConfig&, const RowVector<float>&, const RowVector<float>&,
                         const float&);
template bool same_table(const AttentionConfig&, const RowVector<double>&, const RowVector<double>&,
                         const double&);
template bool same_table(const AttentionConfig&, const RowVector<Float50>&, const RowVector<Float50>&,
                         const Float50&);

}  // namespace attnsym
