#include "verify/stored_circuit.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "symmetry/centred.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

constexpr int zero_exponent = -100000;

// The smallest e with all |entries| < 2^e, or zero_exponent.
int exponent_of(const Matrix<double>& m) {
  const double largest = m.size() > 0 ? m.cwiseAbs().maxCoeff() : 0;
  if (!(largest > 0)) return zero_exponent;
  int exponent = 0;
  std::frexp(largest, &exponent);
  return exponent;
}

// m * 2^shift in two steps, since 2^shift alone may be out of range where the result is not.
void scale(Matrix<double>& m, int shift) {
  if (shift == 0) return;
  const int half = std::clamp(shift, -2000, 2000) / 2;
  m *= std::ldexp(1.0, half);
  m *= std::ldexp(1.0, std::clamp(shift, -2000, 2000) - half);
}

// Brings a factor and its radii to entries below 1 and tells by which power of two they were larger.
int normalize(Matrix<double>& value, Matrix<double>& radius) {
  int exponent = exponent_of(value);
  if (exponent == zero_exponent) exponent = exponent_of(radius);  // what cancelled may still be uncertain
  if (exponent == zero_exponent) return zero_exponent;
  scale(value, -exponent);
  scale(radius, -exponent);
  return exponent;
}

// Weights of homogeneous tokens (x, 1): with a zero row where a bias does not count.
Matrix<double> with_bias_row(const Matrix<double>& weight, Index model_width) {
  return weight.rows() > model_width ? weight : homogeneous(weight, RowVector<double>());
}

// [N1] V^ and O^T of one head.
Circuit<double> homogeneous_vo(const AttentionConfig& config, const AttentionWeights<double>& weights,
                               Index head) {
  Circuit<double> circuit = vo_circuit(config, weights, head);
  circuit.left = with_bias_row(circuit.left, config.model_width);
  return circuit;
}

// Heads of one module whose values are the same numbers, and the sum of their outputs. Beside sinks values
// come with their bias.
struct SharedValues {
  Matrix<double> value;
  Matrix<double> value_radius;
  Matrix<double> outputs;        // transposed, D x dv
  Matrix<double> output_radius;  // independent errors: their squares add up
};

void add_head(std::vector<SharedValues>& parts, const StoredAttention& module, Index head) {
  const Circuit<double> head_vo = homogeneous_vo(module.config, module.weights, head);
  const Circuit<double> head_radius = homogeneous_vo(module.config, module.radius, head);
  const auto same = std::find_if(parts.begin(), parts.end(),
                                 [&](const SharedValues& part) { return part.value == head_vo.left; });
  if (same == parts.end()) {
    parts.push_back({head_vo.left, head_radius.left, head_vo.right, head_radius.right});
  } else {
    same->outputs += head_vo.right;
    same->output_radius = same->output_radius.binaryExpr(head_radius.right,
                                                         [](double r, double s) { return std::hypot(r, s); });
  }
}

StoredCircuit beside_each_other(const std::vector<StoredCircuit>& circuits) {
  const Index rows = circuits.front().value.left.rows();
  const Index width = circuits.front().value.right.rows();
  int exponent = zero_exponent;
  Index columns = 0;
  for (const StoredCircuit& circuit : circuits) {
    exponent = std::max(exponent, circuit.exponent);
    columns += circuit.value.left.cols();
  }
  const Circuit<double> blank{Matrix<double>(rows, columns), Matrix<double>(width, columns)};
  StoredCircuit sum{blank, blank, exponent};
  Index begin = 0;
  for (const StoredCircuit& unscaled : circuits) {
    const StoredCircuit circuit = at_exponent(unscaled, exponent);
    const Index count = circuit.value.left.cols();
    sum.value.left.middleCols(begin, count) = circuit.value.left;
    sum.value.right.middleCols(begin, count) = circuit.value.right;
    sum.radius.left.middleCols(begin, count) = circuit.radius.left;
    sum.radius.right.middleCols(begin, count) = circuit.radius.right;
    begin += count;
  }
  return sum;
}

// One group of one reader for every coordinate of every head's values.
AttentionWeights<double> written_out(const AttentionWeights<double>& weights) {
  AttentionWeights<double> result{{}, weights.output_bias, weights.query_gain, weights.key_gain};
  for (const KvGroup<double>& group : weights.groups) {
    for (const QueryHead<double>& reader : group.readers) {
      for (Index k = 0; k < group.value.cols(); ++k) {
        QueryHead<double> one = reader;
        one.output = reader.output.row(k);
        one.gate = reader.gate.col(k);
        if (reader.gate_bias.size() > 0) one.gate_bias = reader.gate_bias.segment(k, 1);
        RowVector<double> value_bias;
        if (group.value_bias.size() > 0) value_bias = group.value_bias.segment(k, 1);
        result.groups.push_back(
            {group.key, group.value.col(k), group.key_bias, value_bias, {one}, group.gain});
      }
    }
  }
  return result;
}

void require_readable(const StoredAttention& module, const char* name) {
  require_fits(module.weights, module.config);
  require_fits(module.radius, module.config);
  bool finite = true;
  for_each_slot(module.weights, [&](const auto& slot) { finite = finite && slot.allFinite(); });
  if (!finite) throw FormatError(std::string("module ") + name + " has a weight that is not finite");
}

template <class V>
void fill_with_zeros(V& bias, Index size) {
  if (bias.size() == 0) bias = V::Zero(size);
}

void fill_biases(AttentionWeights<double>& weights, const AttentionConfig& config) {
  for (KvGroup<double>& group : weights.groups) {
    fill_with_zeros(group.key_bias, config.key_width);
    fill_with_zeros(group.value_bias, config.value_width);
    for (QueryHead<double>& reader : group.readers) {
      fill_with_zeros(reader.query_bias, config.key_width);
      if (config.output_gate) fill_with_zeros(reader.gate_bias, config.value_width);
    }
  }
  fill_with_zeros(weights.output_bias, config.model_width);
}

}  // namespace

StoredCircuit normalized(Circuit<double> value, Circuit<double> radius) {
  StoredCircuit result{std::move(value), std::move(radius)};
  const int left = normalize(result.value.left, result.radius.left);
  const int right = normalize(result.value.right, result.radius.right);
  result.exponent = std::max(left + right, zero_exponent);
  return result;
}

StoredCircuit stored_qk_circuit(const StoredAttention& module, Index head) {
  AttentionConfig unscaled = module.config;
  unscaled.scale = 1;
  StoredCircuit circuit =
      normalized(qk_circuit(unscaled, module.weights, head), qk_circuit(unscaled, module.radius, head));
  int exponent = 0;
  const double mantissa = std::frexp(module.config.scale, &exponent);
  circuit.value.left *= mantissa;
  circuit.radius.left *= std::abs(mantissa);
  circuit.exponent += exponent;
  return circuit;
}

StoredCircuit stored_vo_circuit(const StoredAttention& module, Index head) {
  return normalized(homogeneous_vo(module.config, module.weights, head),
                    homogeneous_vo(module.config, module.radius, head));
}

StoredCircuit stored_vo_sum(const StoredAttention& module, const std::vector<Index>& heads) {
  std::vector<SharedValues> parts;
  for (const Index head : heads) add_head(parts, module, head);
  std::vector<StoredCircuit> circuits;
  for (const SharedValues& part : parts) {
    circuits.push_back(normalized({part.value, part.outputs}, {part.value_radius, part.output_radius}));
  }
  const Index width = module.config.model_width;
  return circuits.empty() ? zero_circuit(width + 1, width) : beside_each_other(circuits);
}

StoredCircuit zero_circuit(Index rows, Index columns) {
  const Circuit<double> zero{Matrix<double>::Zero(rows, 1), Matrix<double>::Zero(columns, 1)};
  return {zero, zero, zero_exponent};
}

StoredCircuit at_exponent(StoredCircuit circuit, int exponent) {
  scale(circuit.value.left, circuit.exponent - exponent);
  scale(circuit.radius.left, circuit.exponent - exponent);
  circuit.exponent = exponent;
  return circuit;
}

Circuit<double> value_at_exponent(const StoredCircuit& circuit, int exponent) {
  Circuit<double> value = circuit.value;
  scale(value.left, circuit.exponent - exponent);
  return value;
}

double scaled_norm(const StoredCircuit& circuit) { return norm(circuit.value); }

void require_comparable(const StoredAttention& a, const StoredAttention& b) {
  require_readable(a, "a");
  require_readable(b, "b");
  require_same_size("the model widths", a.config.model_width, b.config.model_width);
  if (a.config.centred_inputs != b.config.centred_inputs)
    throw ShapeError("one module is about centred inputs and the other about all");
}

StoredAttention with_all_biases(StoredAttention module) {
  fill_biases(module.weights, module.config);
  fill_biases(module.radius, module.config);
  module.config.query_bias = module.config.key_bias = module.config.value_bias = module.config.output_bias =
      true;
  module.config.gate_bias = module.config.output_gate;
  return module;
}

StoredAttention with_coordinates_written_out(const StoredAttention& module) {
  if (!module.config.output_gate) return module;
  StoredAttention result{module.config, written_out(module.weights), written_out(module.radius)};
  result.config.groups = result.config.heads = module.config.heads * module.config.value_width;
  result.config.value_width = 1;
  result.config.slopes.clear();
  for (const double slope : module.config.slopes)
    result.config.slopes.insert(result.config.slopes.end(), module.config.value_width, slope);
  return result;
}

StoredAttention as_seen(StoredAttention module) {
  module = with_all_biases(std::move(module));
  if (module.config.centred_inputs) {
    module.weights = with_centred_weights(std::move(module.weights));
    module.radius = with_centred_radii(std::move(module.radius));
  }
  return module.config.output_gate ? with_coordinates_written_out(module) : module;
}

}  // namespace attnsym
