#include "checkpoint/model_tensors.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "checkpoint/lost_range.hpp"
#include "checkpoint/read_attention.hpp"
#include "checkpoint/tensor_checks.hpp"
#include "checkpoint/write_attention.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Encodes what takes the place of stored tensors.
class Encoder {
 public:
  Encoder(const Checkpoint& checkpoint, std::optional<Dtype> store_as)
      : checkpoint_(checkpoint), store_as_(store_as) {
    // Files of other formats are written as Hugging Face has them.
    transposed_ = checkpoint.foreign() ? checkpoint.layout().transposed : stores_transposed(checkpoint);
  }

  bool transposed() const { return transposed_; }

  // Row by row, some at a time: a large table costs no more than its bytes.
  template <class Numbers>
  NamedTensor encoded(const StoredTensor& tensor, const Numbers& numbers, bool is_row) const {
    const Dtype dtype = store_as_.value_or(written_dtype(tensor.info->dtype));
    std::vector<std::int64_t> shape{numbers.rows(), numbers.cols()};
    if (is_row) shape = {numbers.size()};
    if (tensor.info->shape.size() > 2) shape = tensor.info->shape;  // of images
    NamedTensor result{tensor.info->name, dtype, shape,
                       std::vector<std::byte>(byte_count(dtype, shape).value())};
    LostRange lost(rounding_of(dtype));
    const std::size_t size = result.bytes.size() / static_cast<std::size_t>(numbers.size());  // of a number
    const Index at_once = std::max<Index>(1, (Index{1} << 18) / std::max<Index>(1, numbers.cols()));
    for (Index first = 0; first < numbers.rows(); first += at_once) {
      const RowMajor rows = numbers.middleRows(first, std::min(at_once, numbers.rows() - first));
      const std::span<const double> some(rows.data(), static_cast<std::size_t>(rows.size()));
      require_finite(tensor, first * numbers.cols(), some, "new");
      lost.add(some);
      const std::span<std::byte> place =
          std::span(result.bytes).subspan(static_cast<std::size_t>(first * numbers.cols()) * size);
      try {
        encode(dtype, some, place.first(some.size() * size));
      } catch (const FormatError& error) {
        throw FormatError(tensor.describe() + ": " + error.what());
      }
    }
    require_range(tensor, lost, dtype);
    return result;
  }

  NamedTensor row(const StoredTensor& tensor, const RowVector<double>& numbers) const {
    return encoded(tensor, numbers, true);
  }

  // A linear map, in x out.
  NamedTensor linear(const StoredTensor& tensor, const Matrix<double>& in_out) const {
    if (transposed_) return encoded(tensor, in_out, false);
    return encoded(tensor, in_out.transpose(), false);
  }

  void add_norm(const std::optional<LinearTensors>& tensors, const Norm<double>& norm,
                std::vector<NamedTensor>& list) const {
    if (!tensors) return;
    const ForeignModel* foreign = checkpoint_.foreign();
    const bool one_added = foreign != nullptr && foreign->one_added.contains(tensors->weight.info->name);
    const double offset = one_added ? 1 : checkpoint_.layout().norm_offset;
    list.push_back(row(tensors->weight, RowVector<double>((norm.gain.array() - offset).matrix())));
    if (tensors->bias) list.push_back(row(*tensors->bias, norm.bias));
  }

  void add_linear(const LinearTensors& tensors, const Matrix<double>& weight, const RowVector<double>& bias,
                  std::vector<NamedTensor>& list) const {
    list.push_back(linear(tensors.weight, weight));
    if (tensors.bias) list.push_back(row(*tensors.bias, bias));
  }

  // Linear maps behind the blocks are never transposed.
  void add_head(const LinearTensors& tensors, const Matrix<double>& weight, const RowVector<double>& bias,
                std::vector<NamedTensor>& list) const {
    list.push_back(encoded(tensors.weight, weight.transpose(), false));
    if (tensors.bias) list.push_back(row(*tensors.bias, bias));
  }

  void add_transform(const std::optional<TransformTensors>& tensors, const Transform<double>& transform,
                     std::vector<NamedTensor>& list) const {
    if (!tensors) return;
    add_head(tensors->dense, transform.dense, transform.bias, list);
    add_norm(tensors->norm, transform.norm, list);
  }

  void add_table(const std::optional<StoredTensor>& tensor, const Matrix<double>& rows,
                 std::vector<NamedTensor>& list) const {
    if (tensor) list.push_back(encoded(*tensor, rows, false));
  }

 private:
  const Checkpoint& checkpoint_;
  std::optional<Dtype> store_as_;
  bool transposed_ = false;
};

void add_mlp(const Encoder& encoder, const MlpTensors& tensors, bool packed, const Mlp<double>& mlp,
             std::vector<NamedTensor>& list) {
  if (packed) {
    Matrix<double> both(mlp.up.rows(), 2 * mlp.up.cols());
    both << mlp.gate, mlp.up;
    RowVector<double> biases(2 * mlp.up_bias.size());
    biases << mlp.gate_bias, mlp.up_bias;
    encoder.add_linear(tensors.up, both, biases, list);
  } else {
    encoder.add_linear(tensors.up, mlp.up, mlp.up_bias, list);
    if (tensors.gate) encoder.add_linear(*tensors.gate, mlp.gate, mlp.gate_bias, list);
  }
  encoder.add_linear(tensors.down, mlp.down, mlp.down_bias, list);
}

constexpr NormPlace block_norms[] = {NormPlace::AttentionInput, NormPlace::AttentionOutput,
                                     NormPlace::MlpInput, NormPlace::MlpOutput};

}  // namespace

namespace {

// Tensors that are there, in the order in which they are noted.
class TensorList {
 public:
  void note(const std::optional<StoredTensor>& tensor) {
    if (tensor) tensors.push_back(*tensor);
  }
  void note(const std::optional<LinearTensors>& linear) {
    if (!linear) return;
    tensors.push_back(linear->weight);
    note(linear->bias);
  }
  void note(const std::optional<TransformTensors>& transform) {
    if (!transform) return;
    note(std::optional(transform->dense));
    note(transform->norm);
  }

  std::vector<StoredTensor> tensors;
};

}  // namespace

std::vector<StoredTensor> stored_outside_tensors(const Checkpoint& checkpoint) {
  const OuterTensors tensors(checkpoint);
  TensorList list;
  for (const Table table : {Table::Embedding, Table::Positions, Table::TokenTypes, Table::Unembedding})
    list.note(tensors.table(table));
  for (const StoredTensor& type : tensors.types_apart()) list.note(type);
  list.note(tensors.second_copy());
  list.note(tensors.head_bias());
  list.note(tensors.second_bias());
  list.note(tensors.head_transform());
  if (const auto task = tensors.task()) {
    list.note(task->transform);
    list.note(task->output);
  }
  for (const NormPlace place : {NormPlace::Embedding, NormPlace::Final}) list.note(tensors.norm(place, 0));
  return std::move(list.tensors);
}

std::vector<StoredTensor> stored_block_tensors(const Checkpoint& checkpoint, Index layer) {
  const OuterTensors tensors(checkpoint);
  TensorList list;
  for (const StoredTensor& tensor : stored_attention_tensors(checkpoint, layer)) list.note(tensor);
  for (const NormPlace place : block_norms) list.note(tensors.norm(place, layer));
  const MlpTensors mlp = tensors.mlp(layer);
  list.note(std::optional(mlp.up));
  list.note(mlp.gate);
  list.note(std::optional(mlp.down));
  return std::move(list.tensors);
}

std::set<std::string> model_tensor_names(const Checkpoint& checkpoint) {
  std::set<std::string> names;
  for (const StoredTensor& tensor : stored_outside_tensors(checkpoint)) names.insert(tensor.info->name);
  for (Index layer = 0; layer < layer_count(checkpoint); ++layer) {
    for (const StoredTensor& tensor : stored_block_tensors(checkpoint, layer))
      names.insert(tensor.info->name);
  }
  return names;
}

TransformerWeights<double> read_outside(const CheckpointModel& model) {
  const TransformerConfig& config = model.config();
  const auto all = [&](Table table) {
    constexpr Index at_once = 4096;
    const Index count = row_count(config, table);
    Matrix<double> rows(count, count > 0 ? config.model_width : 0);
    for (Index first = 0; first < count; first += at_once) {
      const StoredMatrix some = model.rows(table, first, std::min(at_once, count - first));
      if (first == 0) rows.resize(count, some.value.cols());  // another width before some heads
      rows.middleRows(first, some.value.rows()) = some.value;
    }
    return rows;
  };
  TransformerWeights<double> weights;
  weights.embedding = all(Table::Embedding);
  weights.positions = all(Table::Positions);
  weights.token_types = all(Table::TokenTypes);
  weights.embedding_norm = model.norm(NormPlace::Embedding, 0).value;
  weights.final_norm = model.norm(NormPlace::Final, 0).value;
  if (config.head == Head::Own) weights.unembedding = all(Table::Unembedding);
  if (config.head_bias) weights.head_bias = model.head_bias().value;
  weights.head_transform = model.head_transform().value;
  for (std::size_t i = 0; i < config.tasks.size(); ++i) weights.tasks.push_back(model.task(i).value);
  return weights;
}

std::vector<NamedTensor> block_tensors(const Checkpoint& checkpoint, Index layer, const Block<double>& block,
                                       std::optional<Dtype> store_as) {
  const OuterTensors tensors(checkpoint);
  const Encoder encoder(checkpoint, store_as);
  std::vector<NamedTensor> list = attention_tensors(checkpoint, layer, block.attention, store_as);
  const Norm<double>* norms[] = {&block.attention_input, &block.attention_output, &block.mlp_input,
                                 &block.mlp_output};
  for (std::size_t i = 0; i < std::size(norms); ++i)
    encoder.add_norm(tensors.norm(block_norms[i], layer), *norms[i], list);
  add_mlp(encoder, tensors.mlp(layer), checkpoint.layout().model->packed, block.mlp, list);
  return list;
}

std::vector<NamedTensor> outside_tensors(const Checkpoint& checkpoint,
                                         const TransformerWeights<double>& outside,
                                         std::optional<Dtype> store_as) {
  const OuterTensors tensors(checkpoint);
  const Encoder encoder(checkpoint, store_as);
  std::vector<NamedTensor> list;
  const std::vector<StoredTensor> types = tensors.types_apart();
  for (std::size_t i = 0; i < types.size(); ++i)
    list.push_back(encoder.row(types[i], outside.token_types.row(static_cast<Index>(i))));
  if (types.empty()) {
    encoder.add_table(tensors.table(Table::Embedding), outside.embedding, list);
  } else {
    encoder.add_table(tensors.table(Table::Embedding), Matrix<double>(outside.embedding.transpose()), list);
  }
  encoder.add_table(tensors.second_copy(), outside.embedding, list);
  encoder.add_table(tensors.table(Table::Positions), outside.positions, list);
  encoder.add_table(tensors.table(Table::TokenTypes), outside.token_types, list);
  if (tensors.head() == Head::Own)
    encoder.add_table(tensors.table(Table::Unembedding), outside.unembedding, list);
  if (const auto bias = tensors.head_bias()) list.push_back(encoder.row(*bias, outside.head_bias));
  if (const auto bias = tensors.second_bias()) list.push_back(encoder.row(*bias, outside.head_bias));
  encoder.add_transform(tensors.head_transform(), outside.head_transform, list);
  if (const auto task = tensors.task()) {
    const Task<double>& weights = outside.tasks.front();
    encoder.add_transform(task->transform, weights.transform, list);
    if (task->output) encoder.add_head(*task->output, weights.output, weights.output_bias, list);
  }
  encoder.add_norm(tensors.norm(NormPlace::Embedding, 0), outside.embedding_norm, list);
  encoder.add_norm(tensors.norm(NormPlace::Final, 0), outside.final_norm, list);
  return list;
}

}  // namespace attnsym
