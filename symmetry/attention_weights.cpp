#include "symmetry/attention_weights.hpp"

#include <string>

#include "symmetry/dual.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// Eigen's == asserts equal shapes; here different shapes are simply different.
template <class M>
bool equal(const M& a, const M& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() && a == b;
}

void require_shape(const std::string& name, Index rows, Index cols, Index want_rows, Index want_cols) {
  if (rows == want_rows && cols == want_cols) return;
  const auto shape = [](Index r, Index c) { return std::to_string(r) + " x " + std::to_string(c); };
  throw ShapeError(name + " is " + shape(rows, cols) + ", expected " + shape(want_rows, want_cols));
}

template <class M>
void require_matrix(const std::string& name, const M& m, Index rows, Index cols) {
  require_shape(name, m.rows(), m.cols(), rows, cols);
}

template <class V>
void require_bias(const std::string& name, const V& bias, bool present, Index width) {
  require_shape(name, 1, bias.size(), 1, present ? width : 0);
}

template <Scalar To, Scalar From>
To cast_scalar(const From& value) {
  if constexpr (std::same_as<To, From>) return value;
  if constexpr (std::is_floating_point_v<To> && !std::is_floating_point_v<From>)
    return value.template convert_to<To>();
  return To(value);
}

template <class To, class Slot>
auto cast_slot(const Slot& slot) {
  using Result = Eigen::Matrix<To, Slot::RowsAtCompileTime, Slot::ColsAtCompileTime>;
  Result result(slot.rows(), slot.cols());
  for (Index i = 0; i < slot.size(); ++i) {
    result.data()[i] = cast_scalar<To, typename Slot::Scalar>(slot.data()[i]);
  }
  return result;
}

}  // namespace

template <Scalar S>
bool QueryHead<S>::operator==(const QueryHead& other) const {
  return equal(query, other.query) && equal(output, other.output) && equal(query_bias, other.query_bias) &&
         equal(sink, other.sink) && equal(gain, other.gain) && equal(distance_bias, other.distance_bias) &&
         equal(gate, other.gate) && equal(gate_bias, other.gate_bias);
}

template <Scalar S>
bool KvGroup<S>::operator==(const KvGroup& other) const {
  return equal(key, other.key) && equal(value, other.value) && equal(key_bias, other.key_bias) &&
         equal(value_bias, other.value_bias) && equal(gain, other.gain) && readers == other.readers;
}

template <Scalar S>
bool AttentionWeights<S>::operator==(const AttentionWeights& other) const {
  return groups == other.groups && equal(output_bias, other.output_bias) &&
         equal(query_gain, other.query_gain) && equal(key_gain, other.key_gain);
}

template <Scalar S>
void require_fits(const AttentionWeights<S>& weights, const AttentionConfig& config) {
  config.validate();
  const Index d = config.model_width;
  const auto has = [&](QkGains gains) { return config.qk_norm && config.qk_norm->gains == gains; };
  const Index own_width = has(QkGains::Temperature) ? 1 : config.key_width;
  const Index groups = static_cast<Index>(weights.groups.size());
  if (groups != config.groups) {
    throw ShapeError(std::to_string(groups) + " key/value groups, expected " + std::to_string(config.groups));
  }
  for (Index j = 0; j < groups; ++j) {
    const KvGroup<S>& group = weights.groups[j];
    const std::string where = "group " + std::to_string(j) + " ";
    require_matrix(where + "key", group.key, d, config.key_width);
    require_matrix(where + "value", group.value, d, config.value_width);
    require_bias(where + "key bias", group.key_bias, config.key_bias, config.key_width);
    require_bias(where + "value bias", group.value_bias, config.value_bias, config.value_width);
    require_bias(where + "key gain", group.gain, has(QkGains::Own), config.key_width);
    const Index readers = static_cast<Index>(group.readers.size());
    if (readers != config.readers_per_group()) {
      throw ShapeError(where + "has " + std::to_string(readers) + " readers, expected " +
                       std::to_string(config.readers_per_group()));
    }
    for (Index i = 0; i < readers; ++i) {
      const QueryHead<S>& reader = group.readers[i];
      const std::string name = where + "reader " + std::to_string(i) + " ";
      require_matrix(name + "query", reader.query, d, config.key_width);
      require_matrix(name + "output", reader.output, config.value_width, d);
      require_bias(name + "query bias", reader.query_bias, config.query_bias, config.key_width);
      require_bias(name + "sink", reader.sink, config.sinks, 1);
      require_bias(name + "gain", reader.gain, has(QkGains::Own) || has(QkGains::Temperature), own_width);
      require_bias(name + "distance bias", reader.distance_bias, true, config.bucket_count());
      require_matrix(name + "gate", reader.gate, config.output_gate ? d : 0,
                     config.output_gate ? config.value_width : 0);
      require_bias(name + "gate bias", reader.gate_bias, config.gate_bias, config.value_width);
    }
  }
  require_bias("output bias", weights.output_bias, config.output_bias, d);
  require_bias("query gain", weights.query_gain, has(QkGains::Shared), config.key_width);
  require_bias("key gain", weights.key_gain, has(QkGains::Shared), config.key_width);
}

template <Scalar To, Scalar From>
AttentionWeights<To> cast(const AttentionWeights<From>& weights) {
  AttentionWeights<To> result;
  for (const KvGroup<From>& group : weights.groups) {
    KvGroup<To>& out = result.groups.emplace_back(KvGroup<To>{cast_slot<To>(group.key),
                                                              cast_slot<To>(group.value),
                                                              cast_slot<To>(group.key_bias),
                                                              cast_slot<To>(group.value_bias),
                                                              {},
                                                              cast_slot<To>(group.gain)});
    for (const QueryHead<From>& reader : group.readers) {
      out.readers.push_back({cast_slot<To>(reader.query), cast_slot<To>(reader.output),
                             cast_slot<To>(reader.query_bias), cast_slot<To>(reader.sink),
                             cast_slot<To>(reader.gain), cast_slot<To>(reader.distance_bias),
                             cast_slot<To>(reader.gate), cast_slot<To>(reader.gate_bias)});
    }
  }
  result.output_bias = cast_slot<To>(weights.output_bias);
  result.query_gain = cast_slot<To>(weights.query_gain);
  result.key_gain = cast_slot<To>(weights.key_gain);
  return result;
}

template struct QueryHead<float>;
template struct QueryHead<double>;
template struct QueryHead<Float50>;
template struct QueryHead<Float100>;
template struct QueryHead<Rational>;
template struct KvGroup<float>;
template struct KvGroup<double>;
template struct KvGroup<Float50>;
template struct KvGroup<Float100>;
template struct KvGroup<Rational>;
template struct AttentionWeights<float>;
template struct AttentionWeights<double>;
template struct AttentionWeights<Float50>;
template struct AttentionWeights<Float100>;
template struct AttentionWeights<Rational>;

template void require_fits(const AttentionWeights<float>&, const AttentionConfig&);
template void require_fits(const AttentionWeights<double>&, const AttentionConfig&);
template void require_fits(const AttentionWeights<Float50>&, const AttentionConfig&);
template void require_fits(const AttentionWeights<Float100>&, const AttentionConfig&);
template void require_fits(const AttentionWeights<Rational>&, const AttentionConfig&);
template void require_fits(const AttentionWeights<Dual>&, const AttentionConfig&);

template AttentionWeights<double> cast(const AttentionWeights<float>&);
template AttentionWeights<double> cast(const AttentionWeights<double>&);
template AttentionWeights<double> cast(const AttentionWeights<Float50>&);
template AttentionWeights<double> cast(const AttentionWeights<Rational>&);
template AttentionWeights<float> cast(const AttentionWeights<double>&);
template AttentionWeights<float> cast(const AttentionWeights<Rational>&);
template AttentionWeights<Float50> cast(const AttentionWeights<double>&);
template AttentionWeights<Float100> cast(const AttentionWeights<double>&);
template AttentionWeights<Float50> cast(const AttentionWeights<Rational>&);
template AttentionWeights<Dual> cast(const AttentionWeights<double>&);
template AttentionWeights<Rational> cast(const AttentionWeights<double>&);
template AttentionWeights<Rational> cast(const AttentionWeights<Rational>&);

}  // namespace attnsym
