#include "verify/checker/model_identity.hpp"

#include <algorithm>
#include <cmath>

#include "verify/checker/certificate.hpp"

namespace attnsym {
namespace {

using Refutation = std::optional<std::string>;

bool same(const Matrix<double>& a, const Matrix<double>& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() && (a.array() == b.array()).all();
}

bool same_rows(const StoredModel& a, const StoredModel& b, Table table, const StreamTransport& stream) {
  const Index count = row_count(a.config(), table);
  if (count != row_count(b.config(), table)) return false;
  // Positions in front of the first token's are not read.
  const Index begin = table == Table::Positions ? a.config().position_offset : 0;
  constexpr Index at_once = 256;
  for (Index first = begin; first < count; first += at_once) {
    const Index rows = std::min(at_once, count - first);
    if (!same(stream.written(a.rows(table, first, rows)).value, b.rows(table, first, rows).value))
      return false;
  }
  return true;
}

bool same_norm(const StoredNorm& a, const StoredNorm& b, const StreamTransport& stream) {
  return same(stream.placed({a.value.gain, a.radius.gain}).value, b.value.gain) &&
         same(stream.written({a.value.bias, a.radius.bias}).value, b.value.bias);
}

// b is f a and a is b / f, with f a power of two or its negative; 0 if that is not so.
double exact_factor(const Eigen::VectorXd& a, const Eigen::VectorXd& b) {
  Index place = 0;
  if (a.cwiseAbs().maxCoeff(&place) == 0) return (b.array() == 0).all() ? 1 : 0;
  const double factor = b(place) / a(place);
  int exponent = 0;
  if (std::abs(std::frexp(factor, &exponent)) != 0.5) return 0;
  const bool both_ways =
      ((factor * a).array() == b.array()).all() && (a.array() == (b / factor).array()).all();
  return both_ways ? factor : 0;
}

// One neuron: its parts by factors whose product is 1, those that its activation lets through.
bool same_neuron(const MlpConfig& config, const StoredNeurons& a, const StoredNeurons& b, Index k) {
  const auto factor_of = [k](const StoredMatrix& x, const StoredMatrix& y) {
    return x.value.size() > 0 ? exact_factor(x.value.col(k), y.value.col(k)) : 1;
  };
  const double gate = factor_of(a.gate, b.gate);
  const double up = factor_of(a.up, b.up);
  const double down = factor_of(a.down, b.down);
  const bool positive = config.activation == Activation::Relu;  // lets positive factors through
  const double inner = config.gated ? gate : up;
  const bool allowed = inner == 1 || (positive && inner > 0);
  return allowed && gate * up * down == 1;
}

Refutation refute_neurons(const MlpConfig& config, const StoredModel& a, const StoredModel& b,
                          const std::vector<Index>& image, const StreamTransport& stream, Index layer) {
  const auto of_a = a.neurons(layer);
  const auto of_b = b.neurons(layer);
  const auto count = static_cast<Index>(image.size());
  constexpr Index at_once = 64;
  for (Index first = 0; first < count; first += at_once) {
    const std::vector<Index> own = consecutive(first, std::min(at_once, count - first));
    const std::vector<Index> other(image.begin() + first, image.begin() + first + std::ssize(own));
    if (std::ranges::min(other) < 0) return "a neuron that puts out nothing has no image";
    StoredNeurons from = of_a->read(own);
    for (StoredMatrix* part : {&from.gate, &from.up}) {
      if (part->value.size() == 0) continue;
      const Index width = part->value.rows() - 1;
      part->value.topRows(width) =
          stream.read({part->value.topRows(width), part->radius.topRows(width)}).value;
    }
    from.down = stream.read(std::move(from.down));
    const StoredNeurons to = of_b->read(other);
    for (Index k = 0; k < std::ssize(own); ++k) {
      if (!same_neuron(config, from, to, k))
        return "neuron " + std::to_string(first + k) + " of A is not one of B in every bit";
    }
  }
  return std::nullopt;
}

Refutation refute_block(const StoredModel& a, const StoredModel& b, const ModelEvidence& evidence,
                        const StreamTransport& stream, Index layer) {
  const auto at = static_cast<std::size_t>(layer);
  for (std::size_t i = 0; i < norm_places; ++i) {
    const auto place = static_cast<NormPlace>(i);
    if (!same_norm(a.norm(place, layer), b.norm(place, layer), stream)) return "norms differ";
  }
  const auto* element = std::get_if<AttentionElement<double>>(&evidence.attention[at]);
  if (element == nullptr) return "attention has no exact change of basis";
  if (auto reason = refute_identity(stream.moved(a.attention(layer)), b.attention(layer), *element))
    return "attention: " + *reason;
  if (auto reason = refute_neurons(a.config().mlp, a, b, evidence.neurons[at], stream, layer)) return reason;
  if (!same(stream.written(a.mlp_bias(layer)).value, b.mlp_bias(layer).value))
    return "biases behind neurons differ";
  return std::nullopt;
}

// What a transform reads is the stream; what it ends in may be.
bool same_transform(const Transform<double>& a, const Transform<double>& b, bool ends_in_stream,
                    const StreamTransport& stream) {
  const auto bare = [](const auto& m) { return StoredMatrix{m, Matrix<double>::Zero(m.rows(), m.cols())}; };
  const auto moved = [&](StoredMatrix rows) {
    return ends_in_stream ? stream.written(std::move(rows)) : rows;
  };
  const auto placed = [&](StoredMatrix row) { return ends_in_stream ? stream.placed(std::move(row)) : row; };
  return same(moved(stream.read(bare(a.dense))).value, b.dense) && same(moved(bare(a.bias)).value, b.bias) &&
         same(placed(bare(a.norm.gain)).value, b.norm.gain) &&
         same(moved(bare(a.norm.bias)).value, b.norm.bias);
}

bool same_task(const Task<double>& a, const Task<double>& b, const StreamTransport& stream) {
  const bool reads_stream = a.transform.dense.size() == 0;
  StoredMatrix output{a.output, Matrix<double>::Zero(a.output.rows(), a.output.cols())};
  if (reads_stream) output = stream.read(std::move(output));
  return same_transform(a.transform, b.transform, false, stream) && same(output.value, b.output) &&
         same(a.output_bias, b.output_bias);
}

Refutation refute_outputs(const StoredModel& a, const StoredModel& b, const StreamTransport& stream) {
  const TransformerConfig& config = a.config();
  const bool in_stream = config.head_transform.width == 0 || config.ends_in_stream();
  const StreamTransport none = StreamTransport::identity(config.model_width);
  if (config.head == Head::Own && !same_rows(a, b, Table::Unembedding, in_stream ? stream : none))
    return "heads differ";
  if (!same(a.head_bias().value, b.head_bias().value)) return "biases of the outputs differ";
  if (config.ends_in_stream() && !stream.keeps_signs()) return "activations in front of the head know signs";
  if (!same_transform(a.head_transform().value, b.head_transform().value, config.ends_in_stream(), stream))
    return "transforms of the head differ";
  for (std::size_t i = 0; i < config.tasks.size(); ++i) {
    if (!same_task(a.task(i).value, b.task(i).value, stream)) return "tasks differ";
  }
  return std::nullopt;
}

}  // namespace

Refutation refute_model_identity(const StoredModel& a, const StoredModel& b, const ModelEvidence& evidence,
                                 const RunTasks& run_tasks) {
  if (!(a.config() == b.config())) return "the configurations differ";
  const auto stream = stream_of(evidence.stream);
  if (!stream || stream->kind() == StreamTransport::Kind::Orthogonal)
    return "the stream is not moved by a signed permutation";
  for (const Table table : {Table::Embedding, Table::Positions, Table::TokenTypes}) {
    if (!same_rows(a, b, table, *stream)) return "tables differ";
  }
  if (auto reason = refute_outputs(a, b, *stream)) return reason;
  std::vector<Refutation> refutations(evidence.attention.size());
  run_tasks(refutations.size(), [&](std::size_t layer) {
    refutations[layer] = refute_block(a, b, evidence, *stream, static_cast<Index>(layer));
  });
  for (std::size_t layer = 0; layer < refutations.size(); ++layer) {
    if (refutations[layer]) return "block " + std::to_string(layer) + ": " + *refutations[layer];
  }
  return std::nullopt;
}

}  // namespace attnsym
