#include "checkpoint/checkpoint_model.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "checkpoint/attention_io.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/tensor_checks.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

Activation activation_of(const std::string& name, const Checkpoint& checkpoint) {
  constexpr std::pair<std::string_view, Activation> known[] = {
      {"gelu", Activation::Gelu},          {"gelu_new", Activation::GeluTanh},
      {"gelu_fast", Activation::GeluTanh}, {"gelu_pytorch_tanh", Activation::GeluTanh},
      {"silu", Activation::Silu},          {"swish", Activation::Silu},
      {"relu", Activation::Relu}};
  std::vector<std::string> names;
  for (const auto& [spelling, activation] : known) {
    if (name == spelling) return activation;
    names.emplace_back(spelling);
  }
  throw FormatError(checkpoint.path().string() + ": the activation is " + in_quotes(name) +
                    ", expected one of: " + joined(names, ", "));
}

// Extent of a tensor, 0 where it has not so many.
Index extent(const StoredTensor& tensor, std::size_t axis) {
  const auto& shape = tensor.info->shape;
  return axis < shape.size() ? shape[axis] : 0;
}

Index row_count(const std::optional<StoredTensor>& table) { return table ? extent(*table, 0) : 0; }

TransformerConfig config_of(const Checkpoint& checkpoint, const OuterTensors& tensors, bool transposed) {
  const ModelLayout& layout = *checkpoint.layout().model;
  const ModelConfig::Outside& outside = *checkpoint.config().outside;
  TransformerConfig config;
  config.model_width = checkpoint.config().hidden_size;
  config.vocabulary = row_count(tensors.table(Table::Embedding));
  config.positions = row_count(tensors.table(Table::Positions));
  config.position_offset = layout.position_offset;
  config.token_types = row_count(tensors.table(Table::TokenTypes));
  config.norm = layout.norm;
  config.norm_epsilon = outside.norm_epsilon;
  config.placement = layout.placement;
  config.parallel = outside.parallel;
  config.shared_norm = outside.parallel && !tensors.norm(NormPlace::MlpInput, 0);
  config.embedding_norm = tensors.norm(NormPlace::Embedding, 0).has_value();
  config.final_norm = tensors.norm(NormPlace::Final, 0).has_value();
  if (layout.scaled_embedding) config.embedding_scale = std::sqrt(static_cast<double>(config.model_width));
  config.head = tensors.head();
  config.head_bias = tensors.head_bias().has_value();
  config.logit_softcap = outside.softcap;
  for (Index layer = 0; layer < layer_count(checkpoint); ++layer)
    config.attention.push_back(attention_config(checkpoint, layer));
  const MlpTensors mlp = tensors.mlp(0);
  config.mlp = {.width = extent(mlp.down.weight, transposed ? 0 : 1),
                .activation = activation_of(outside.activation, checkpoint),
                .gated = mlp.gate.has_value(),
                .input_bias = mlp.up.bias.has_value(),
                .output_bias = mlp.down.bias.has_value()};
  return config;
}

// Reads numbers with their errors and makes sure that they are finite.
void read(const StoredTensor& tensor, Index offset, std::span<double> numbers, std::span<double> errors,
          Radii radii) {
  read_numbers(tensor, static_cast<std::size_t>(offset), numbers, errors, radii);
  require_finite(tensor, offset, numbers, "stored");
}

// Lines of a row-major tensor as columns.
StoredMatrix read_lines(const StoredTensor& tensor, std::span<const Index> which, Index length, Radii radii) {
  const auto count = static_cast<Index>(which.size());
  StoredMatrix result{Matrix<double>(length, count), Matrix<double>(length, count)};
  const auto size = static_cast<std::size_t>(length);
  for (Index k = 0; k < count; ++k) {
    read(tensor, which[static_cast<std::size_t>(k)] * length, {result.value.col(k).data(), size},
         {result.radius.col(k).data(), size}, radii);
  }
  return result;
}

bool is_run(std::span<const Index> which) {
  for (std::size_t i = 1; i < which.size(); ++i) {
    if (which[i] != which[i - 1] + 1) return false;
  }
  return true;
}

// Some entries of every line, as the rows of a matrix with a column per line.
StoredMatrix read_across(const StoredTensor& tensor, std::span<const Index> which, Index lines, Index length,
                         Radii radii) {
  const auto count = static_cast<Index>(which.size());
  StoredMatrix result{Matrix<double>(count, lines), Matrix<double>(count, lines)};
  if (count == 0) return result;
  if (is_run(which)) {
    for (Index line = 0; line < lines; ++line) {
      read(tensor, line * length + which.front(), {result.value.col(line).data(), which.size()},
           {result.radius.col(line).data(), which.size()}, radii);
    }
    return result;
  }
  RowVector<double> numbers(length);
  RowVector<double> errors(length);
  const auto size = static_cast<std::size_t>(length);
  for (Index line = 0; line < lines; ++line) {
    read(tensor, line * length, {numbers.data(), size}, {errors.data(), size}, radii);
    result.value.col(line) = numbers(which).transpose();
    result.radius.col(line) = errors(which).transpose();
  }
  return result;
}

StoredMatrix transposed(const StoredMatrix& matrix) {
  return {matrix.value.transpose(), matrix.radius.transpose()};
}

StoredMatrix read_row(const StoredTensor& tensor, Radii radii) {
  const Index length = extent(tensor, 0);
  const StoredMatrix column = read_lines(tensor, consecutive(0, 1), length, radii);
  return transposed(column);
}

// Entries of a bias.
void read_bias(const std::optional<StoredTensor>& tensor, const std::vector<Index>& which,
               RowVector<double>& value, RowVector<double>& radius, Radii radii) {
  if (!tensor) return;
  const StoredMatrix row = read_row(*tensor, radii);
  value = row.value(0, which);
  radius = row.radius(0, which);
}

}  // namespace

CheckpointModel::CheckpointModel(const Checkpoint& checkpoint, Radii radii)
    : checkpoint_(checkpoint),
      tensors_(checkpoint),
      radii_(radii),
      transposed_(stores_transposed(checkpoint)),
      config_(config_of(checkpoint, tensors_, transposed_)) {
  tensors_.refuse_unknown();
  require_shapes();
  config_.validate();
}

void CheckpointModel::require_shapes() const {
  const auto require = [&](const std::optional<StoredTensor>& tensor, std::vector<std::int64_t> shape) {
    if (tensor) require_readable(*tensor, shape, checkpoint_.config_name());
  };
  const auto require_linear = [&](const LinearTensors& linear, std::int64_t in, std::int64_t out) {
    require(linear.weight, transposed_ ? std::vector{in, out} : std::vector{out, in});
    require(linear.bias, {out});
  };
  const Index d = config_.model_width;
  require(tensors_.table(Table::Embedding), {config_.vocabulary, d});
  require(tensors_.table(Table::Positions), {config_.positions, d});
  require(tensors_.table(Table::TokenTypes), {config_.token_types, d});
  require(tensors_.table(Table::Unembedding), {config_.vocabulary, d});
  require(tensors_.head_bias(), {config_.vocabulary});
  const bool packed = checkpoint_.layout().model->packed;
  for (Index layer = 0; layer < config_.blocks(); ++layer) {
    for (std::size_t place = 0; place < norm_places; ++place) {
      const auto norm = tensors_.norm(static_cast<NormPlace>(place), layer);
      if (!norm) continue;
      require(norm->weight, {d});
      require(norm->bias, {d});
    }
    const MlpTensors mlp = tensors_.mlp(layer);
    require_linear(mlp.up, d, (packed ? 2 : 1) * config_.mlp.width);
    if (mlp.gate) require_linear(*mlp.gate, d, (packed ? 2 : 1) * config_.mlp.width);
    require_linear(mlp.down, config_.mlp.width, d);
    const bool same_biases = mlp.up.bias.has_value() == config_.mlp.input_bias &&
                             mlp.down.bias.has_value() == config_.mlp.output_bias &&
                             (!mlp.gate || mlp.gate->bias.has_value() == config_.mlp.input_bias);
    if (!same_biases)
      throw FormatError(mlp.up.weight.describe() + ": some layers have biases here, others have not");
  }
}

StoredMatrix CheckpointModel::rows(Table table, Index first, Index count) const {
  const StoredTensor tensor = *tensors_.table(table);
  const StoredMatrix lines = read_lines(tensor, consecutive(first, count), config_.model_width, radii_);
  // Tables are read from one end to the other; what is behind is not needed in memory.
  if (first + count == extent(tensor, 0) || (first / count) % 8 == 7) tensor.file->done_with(*tensor.info);
  return transposed(lines);
}

StoredNorm CheckpointModel::norm(NormPlace place, Index layer) const {
  const auto tensors = tensors_.norm(place, layer);
  if (!tensors) return {};
  const StoredMatrix gain = read_row(tensors->weight, radii_);
  StoredNorm norm{{gain.value, {}}, {gain.radius, {}}};
  norm.value.gain.array() += checkpoint_.layout().norm_offset;
  if (!tensors->bias) return norm;
  const StoredMatrix bias = read_row(*tensors->bias, radii_);
  norm.value.bias = bias.value;
  norm.radius.bias = bias.radius;
  return norm;
}

StoredAttention CheckpointModel::attention(Index layer) const {
  return read_attention(checkpoint_, layer, radii_);
}

StoredMlp CheckpointModel::neurons(Index layer, std::span<const Index> which) const {
  const MlpTensors tensors = tensors_.mlp(layer);
  const Index d = config_.model_width;
  const Index m = config_.mlp.width;
  const bool packed = checkpoint_.layout().model->packed;
  StoredMlp mlp;
  const auto read_input = [&](const LinearTensors& from, Index offset, Matrix<double> Mlp<double>::*weight,
                              RowVector<double> Mlp<double>::*bias) {
    std::vector<Index> lines(which.begin(), which.end());
    for (Index& line : lines) line += offset;
    StoredMatrix read = transposed_
                            ? transposed(read_across(from.weight, lines, d, extent(from.weight, 1), radii_))
                            : read_lines(from.weight, lines, d, radii_);
    mlp.value.*weight = std::move(read.value);
    mlp.radius.*weight = std::move(read.radius);
    read_bias(from.bias, lines, mlp.value.*bias, mlp.radius.*bias, radii_);
  };
  read_input(tensors.up, packed ? m : 0, &Mlp<double>::up, &Mlp<double>::up_bias);
  if (tensors.gate) read_input(*tensors.gate, 0, &Mlp<double>::gate, &Mlp<double>::gate_bias);
  StoredMatrix down = transposed_ ? transposed(read_lines(tensors.down.weight, which, d, radii_))
                                  : read_across(tensors.down.weight, which, d, m, radii_);
  mlp.value.down = std::move(down.value);
  mlp.radius.down = std::move(down.radius);
  read_bias(tensors.down.bias, consecutive(0, d), mlp.value.down_bias, mlp.radius.down_bias, radii_);
  for (const auto* linear : {&tensors.up, &tensors.down})
    linear->weight.file->done_with(*linear->weight.info);
  if (tensors.gate) tensors.gate->weight.file->done_with(*tensors.gate->weight.info);
  return mlp;
}

StoredMatrix CheckpointModel::head_bias() const {
  const auto tensor = tensors_.head_bias();
  return tensor ? read_row(*tensor, radii_) : StoredMatrix{};
}

}  // namespace attnsym
