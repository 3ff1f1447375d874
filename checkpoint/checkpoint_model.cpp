#include "checkpoint/checkpoint_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "checkpoint/checkpoint_neurons.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/read_attention.hpp"
#include "checkpoint/tensor_checks.hpp"
#include "checkpoint/unread_tensors.hpp"
#include "symmetry/blocked_transpose.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

Activation activation_of(const std::string& name, const Checkpoint& checkpoint) {
  constexpr std::pair<std::string_view, Activation> known[] = {
      {"gelu", Activation::Gelu},          {"gelu_new", Activation::GeluTanh},
      {"gelu_fast", Activation::GeluTanh}, {"gelu_pytorch_tanh", Activation::GeluTanh},
      {"silu", Activation::Silu},          {"swish", Activation::Silu},
      {"relu", Activation::Relu},          {"tanh", Activation::Tanh}};
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

// What a patch of an image has, by the convolution that projects patches.
Index numbers_of_a_patch(const StoredTensor& projection) {
  return extent(projection, 1) * extent(projection, 2) * extent(projection, 3);
}

// Columns of a linear map as torch stores it.
Index width_of(const std::optional<LinearTensors>& linear) { return linear ? extent(linear->weight, 0) : 0; }

TransformConfig transform_config(const std::optional<TransformTensors>& tensors,
                                 const std::string& activation, const Checkpoint& checkpoint) {
  if (!tensors) return {};
  return {width_of(tensors->dense), activation_of(activation, checkpoint), tensors->norm.has_value()};
}

void add_tasks(const Checkpoint& checkpoint, const OuterTensors& tensors, TransformerConfig& config) {
  if (const auto transform = tensors.head_transform())
    config.head_transform = transform_config(transform, tensors.head_activation(), checkpoint);
  const auto task = tensors.task();
  if (!task) return;
  config.tasks.push_back({task->tokens,
                          transform_config(task->transform, tensors.task_activation(), checkpoint),
                          width_of(task->output), task->output && task->output->bias.has_value()});
  if (task->tokens == ReadTokens::Last) config.padding = checkpoint.config().outside->pad_token.value_or(-1);
}

TransformerConfig config_of(const Checkpoint& checkpoint, const OuterTensors& tensors, bool transposed) {
  const ModelLayout& layout = *checkpoint.layout().model;
  const ModelConfig::Outside& outside = *checkpoint.config().outside;
  TransformerConfig config;
  config.model_width = checkpoint.config().hidden_size;
  config.vocabulary = row_count(tensors.table(Table::Embedding));
  config.positions = row_count(tensors.table(Table::Positions));
  config.position_offset = outside.padding ? *outside.padding + 1 : layout.position_offset;
  config.padding = outside.padding.value_or(-1);
  config.token_types = row_count(tensors.table(Table::TokenTypes));
  if (!tensors.types_apart().empty()) {
    config.class_token = true;
    config.vocabulary = numbers_of_a_patch(*tensors.table(Table::Embedding));
    config.positions = extent(*tensors.table(Table::Positions), 1);
    config.token_types = 2;
  }
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
  add_tasks(checkpoint, tensors, config);
  return config;
}

// Reads numbers with their errors and makes sure that they are finite.
void read(const StoredTensor& tensor, Index offset, std::span<double> numbers, std::span<double> errors,
          Radii radii) {
  read_numbers(tensor, static_cast<std::size_t>(offset), numbers, errors, radii);
  require_finite(tensor, offset, numbers, "stored");
}

// Lines of a row-major tensor as columns.
StoredMatrix read_lines(const StoredTensor& tensor, Index first, Index count, Index length, Radii radii) {
  StoredMatrix result{Matrix<double>(length, count), Matrix<double>(length, count)};
  const auto size = static_cast<std::size_t>(length * count);
  read(tensor, first * length, {result.value.data(), size}, {result.radius.data(), size}, radii);
  return result;
}

// Columns of a row-major tensor, a row of the result each.
StoredMatrix read_columns(const StoredTensor& tensor, Index first, Index count, Index columns, Index rows,
                          Radii radii) {
  StoredMatrix result{Matrix<double>(count, rows), Matrix<double>(count, rows)};
  const auto size = static_cast<std::size_t>(count);
  for (Index k = 0; k < rows; ++k) {
    read(tensor, k * columns + first, {result.value.col(k).data(), size}, {result.radius.col(k).data(), size},
         radii);
  }
  return result;
}

StoredMatrix transposed(const StoredMatrix& matrix) {
  return {blocked_transpose(matrix.value), blocked_transpose(matrix.radius)};
}

StoredMatrix read_row(const StoredTensor& tensor, Radii radii) {
  const Index length = extent(tensor, 0);
  const StoredMatrix column = read_lines(tensor, 0, 1, length, radii);
  return transposed(column);
}

}  // namespace

CheckpointModel::CheckpointModel(const Checkpoint& checkpoint, Radii radii)
    : checkpoint_(checkpoint),
      tensors_(checkpoint),
      radii_(radii),
      transposed_(stores_transposed(checkpoint)),
      config_(config_of(checkpoint, tensors_, transposed_)) {
  tensors_not_read(checkpoint);  // throws for what the family does not know
  require_shapes();
  require_stated_sizes();
  config_.validate();
}

// Libraries make tensors of the sizes that the configuration states and do not take others into them.
void CheckpointModel::require_stated_sizes() const {
  using What = StatedSize::What;
  const std::optional<StoredTensor> table = tensors_.table(Table::Embedding);
  const auto sizes_of = [&](What what) -> std::vector<Index> {
    switch (what) {
      case What::Vocabulary:
        return {config_.vocabulary};
      case What::Mlp:
        return {config_.mlp.width};
      case What::Positions:
        return {config_.positions};
      case What::TokenTypes:
        return {config_.token_types};
      case What::Channels:
        return {extent(*table, 1)};
      case What::Patch:
        return {extent(*table, 2), extent(*table, 3)};
      case What::Image:
        return {};
    }
    return {};
  };
  std::array<std::vector<Index>, 2> of_images;  // patch and image
  for (const StatedSize& stated : checkpoint_.config().outside->stated) {
    std::vector<Index> sizes = stated.sizes;
    const bool is_area = stated.what == What::Patch || stated.what == What::Image;
    if (is_area && sizes.size() == 1) sizes.push_back(sizes.front());
    if (is_area) of_images[stated.what == What::Image ? 1 : 0] = sizes;
    const std::vector<Index> stored = stated.what == What::Image ? sizes : sizes_of(stated.what);
    if (sizes == stored) continue;
    throw FormatError(checkpoint_.path().string() + ": " + in_quotes(stated.key) + " is " +
                      shape_text(sizes) + " in " + checkpoint_.config_name() + ", but tensors are made for " +
                      shape_text(stored));
  }
  const auto& [patch, image] = of_images;
  if (patch.size() != 2 || image.size() != 2) return;
  const Index patches = (image[0] / patch[0]) * (image[1] / patch[1]);
  if (patches + 1 != config_.positions)
    throw FormatError(checkpoint_.path().string() + ": by 'image_size' and 'patch_size' images of " +
                      shape_text(image) + " pixels have " + std::to_string(patches) +
                      " patches, but tensors are made for " + std::to_string(config_.positions - 1));
}

void CheckpointModel::require_shapes() const {
  const auto require = [&](const std::optional<StoredTensor>& tensor,
                           const std::vector<std::int64_t>& shape) {
    if (tensor) require_readable(*tensor, shape, checkpoint_.config_name());
  };
  const auto require_linear = [&](const LinearTensors& linear, std::int64_t in, std::int64_t out) {
    require(linear.weight, transposed_ ? std::vector{in, out} : std::vector{out, in});
    require(linear.bias, {out});
  };
  const Index d = config_.model_width;
  if (config_.class_token) {
    const std::vector<StoredTensor> types = tensors_.types_apart();
    const StoredTensor projection = *tensors_.table(Table::Embedding);
    std::vector<std::int64_t> shape = projection.info->shape;
    if (shape.size() != 4)
      throw ShapeError(projection.describe() + " is " + shape_text(shape) +
                       ", expected width, channels, height and width of a patch");
    shape[0] = d;
    require(projection, shape);
    require(tensors_.table(Table::Positions), {1, config_.positions, d});
    require(types[0], {d});
    require(types[1], {1, 1, d});
  } else {
    require(tensors_.table(Table::Embedding), {config_.vocabulary, d});
    require(tensors_.table(Table::Positions), {config_.positions, d});
    require(tensors_.table(Table::TokenTypes), {config_.token_types, d});
  }
  require_head_shapes();
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

void CheckpointModel::require_head_shapes() const {
  const auto require = [&](const std::optional<StoredTensor>& tensor,
                           const std::vector<std::int64_t>& shape) {
    if (tensor) require_readable(*tensor, shape, checkpoint_.config_name());
  };
  const auto require_linear = [&](const std::optional<LinearTensors>& linear, Index in, Index out) {
    if (!linear) return;
    require(linear->weight, {out, in});
    require(linear->bias, {out});
  };
  const auto require_transform = [&](const std::optional<TransformTensors>& tensors, Index width) {
    if (!tensors) return;
    require_linear(tensors->dense, config_.model_width, width);
    if (!tensors->norm) return;
    require(tensors->norm->weight, {width});
    require(tensors->norm->bias, {width});
  };
  const Index d = config_.model_width;
  const auto behind = [d](const TransformConfig& transform) {
    return transform.width > 0 ? transform.width : d;
  };
  require_transform(tensors_.head_transform(), config_.head_transform.width);
  require(tensors_.table(Table::Unembedding), {config_.vocabulary, behind(config_.head_transform)});
  require(tensors_.head_bias(), {config_.vocabulary});
  const auto task = tensors_.task();
  if (!task) return;
  const TaskConfig& config = config_.tasks.front();
  require_transform(task->transform, config.transform.width);
  require_linear(task->output, behind(config.transform), config.outputs);
}

StoredMatrix CheckpointModel::rows(Table table, Index first, Index count) const {
  if (config_.class_token && table == Table::TokenTypes) return types_apart(first, count);
  const StoredTensor tensor = *tensors_.table(table);
  if (config_.class_token && table == Table::Embedding)
    return read_columns(tensor, first, count, config_.vocabulary, config_.model_width, radii_);
  const bool behind = table == Table::Unembedding && config_.head_transform.width > 0;
  const Index width = behind ? config_.head_transform.width : config_.model_width;
  const StoredMatrix lines = read_lines(tensor, first, count, width, radii_);
  // Tables are read from one end to the other; what is behind is not needed in memory.
  if (first + count == attnsym::row_count(config_, table) || (first / count) % 8 == 7)
    tensor.file->done_with(*tensor.info);
  return transposed(lines);
}

StoredMatrix CheckpointModel::types_apart(Index first, Index count) const {
  const Index width = config_.model_width;
  const std::vector<StoredTensor> types = tensors_.types_apart();
  StoredMatrix result{Matrix<double>(count, width), Matrix<double>(count, width)};
  for (Index k = 0; k < count; ++k) {
    const StoredMatrix row = read_lines(types[static_cast<std::size_t>(first + k)], 0, 1, width, radii_);
    result.value.row(k) = row.value.transpose();
    result.radius.row(k) = row.radius.transpose();
  }
  return result;
}

StoredNorm CheckpointModel::norm(NormPlace place, Index layer) const {
  const auto tensors = tensors_.norm(place, layer);
  return tensors ? read_norm(*tensors) : StoredNorm{};
}

StoredNorm CheckpointModel::read_norm(const LinearTensors& tensors) const {
  const StoredMatrix gain = read_row(tensors.weight, radii_);
  StoredNorm norm{{gain.value, {}}, {gain.radius, {}}};
  norm.value.gain.array() += checkpoint_.layout().norm_offset;
  if (!tensors.bias) return norm;
  const StoredMatrix bias = read_row(*tensors.bias, radii_);
  norm.value.bias = bias.value;
  norm.radius.bias = bias.radius;
  return norm;
}

StoredAttention CheckpointModel::attention(Index layer) const {
  return read_attention(checkpoint_, layer, radii_);
}

std::unique_ptr<NeuronReader> CheckpointModel::neurons(Index layer) const {
  return checkpoint_neurons(tensors_.mlp(layer), {.model_width = config_.model_width,
                                                  .count = config_.mlp.width,
                                                  .transposed = transposed_,
                                                  .packed = checkpoint_.layout().model->packed,
                                                  .radii = radii_});
}

StoredMatrix CheckpointModel::mlp_bias(Index layer) const {
  const auto tensor = tensors_.mlp(layer).down.bias;
  return tensor ? read_row(*tensor, radii_) : StoredMatrix{};
}

StoredMatrix CheckpointModel::head_bias() const {
  const auto tensor = tensors_.head_bias();
  return tensor ? read_row(*tensor, radii_) : StoredMatrix{};
}

StoredTransform CheckpointModel::read_transform(const std::optional<TransformTensors>& tensors) const {
  if (!tensors) return {};
  const Index width = extent(tensors->dense.weight, 0);
  StoredMatrix dense = read_lines(tensors->dense.weight, 0, width, config_.model_width, radii_);
  const StoredMatrix bias = read_row(*tensors->dense.bias, radii_);
  StoredTransform transform{{std::move(dense.value), bias.value, {}},
                            {std::move(dense.radius), bias.radius, {}}};
  if (!tensors->norm) return transform;
  const StoredNorm norm = read_norm(*tensors->norm);
  transform.value.norm = norm.value;
  transform.radius.norm = norm.radius;
  return transform;
}

StoredTransform CheckpointModel::head_transform() const { return read_transform(tensors_.head_transform()); }

StoredTask CheckpointModel::task(std::size_t index) const {
  const TaskTensors tensors = tensors_.task().value();
  const TaskConfig& config = config_.tasks[index];
  StoredTransform transform = read_transform(tensors.transform);
  StoredTask task{{std::move(transform.value), {}, {}}, {std::move(transform.radius), {}, {}}};
  if (!tensors.output) return task;
  const Index read = config.transform.width > 0 ? config.transform.width : config_.model_width;
  StoredMatrix output = read_lines(tensors.output->weight, 0, config.outputs, read, radii_);
  task.value.output = std::move(output.value);
  task.radius.output = std::move(output.radius);
  if (!tensors.output->bias) return task;
  const StoredMatrix bias = read_row(*tensors.output->bias, radii_);
  task.value.output_bias = bias.value;
  task.radius.output_bias = bias.radius;
  return task;
}

}  // namespace attnsym
