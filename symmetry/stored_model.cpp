#include "symmetry/stored_model.hpp"

#include <numeric>
#include <utility>

#include "symmetry/blocked_transpose.hpp"

namespace attnsym {
namespace {

const Matrix<double>& table_of(const TransformerConfig& config, const TransformerWeights<double>& weights,
                               Table table) {
  switch (table) {
    case Table::Embedding:
      return weights.embedding;
    case Table::Positions:
      return weights.positions;
    case Table::TokenTypes:
      return weights.token_types;
    case Table::Unembedding:
      break;
  }
  return config.head == Head::Tied ? weights.embedding : weights.unembedding;
}

const Norm<double>& norm_of(const TransformerWeights<double>& weights, NormPlace place, Index layer) {
  if (place == NormPlace::Embedding) return weights.embedding_norm;
  if (place == NormPlace::Final) return weights.final_norm;
  const Block<double>& block = weights.blocks[static_cast<std::size_t>(layer)];
  if (place == NormPlace::AttentionInput) return block.attention_input;
  if (place == NormPlace::AttentionOutput) return block.attention_output;
  return place == NormPlace::MlpInput ? block.mlp_input : block.mlp_output;
}

// Weights with their biases below, some columns of them.
Matrix<double> columns_with_bias(const Matrix<double>& weight, const RowVector<double>& bias,
                                 std::span<const Index> which) {
  if (weight.size() == 0) return {};
  Matrix<double> some = Matrix<double>::Zero(weight.rows() + 1, static_cast<Index>(which.size()));
  some.topRows(weight.rows()) = weight(Eigen::all, which);
  if (bias.size() > 0) some.row(weight.rows()) = bias(which);
  return some;
}

class HeldNeurons : public NeuronReader {
 public:
  HeldNeurons(const Mlp<double>& value, const Mlp<double>& radius) : value_(value), radius_(radius) {}

  Index count() const override { return value_.down.rows(); }

  StoredNeurons read(std::span<const Index> which) const override {
    return {{columns_with_bias(value_.gate, value_.gate_bias, which),
             columns_with_bias(radius_.gate, radius_.gate_bias, which)},
            {columns_with_bias(value_.up, value_.up_bias, which),
             columns_with_bias(radius_.up, radius_.up_bias, which)},
            {value_.down(which, Eigen::all).transpose(), radius_.down(which, Eigen::all).transpose()}};
  }

 private:
  const Mlp<double>& value_;
  const Mlp<double>& radius_;
};

}  // namespace

Index row_count(const TransformerConfig& config, Table table) {
  switch (table) {
    case Table::Embedding:
      return config.vocabulary;
    case Table::Positions:
      return config.positions;
    case Table::TokenTypes:
      return config.token_types;
    case Table::Unembedding:
      break;
  }
  return config.head == Head::Own || config.head == Head::Tied ? config.vocabulary : 0;
}

HeldModel::HeldModel(TransformerConfig config, TransformerWeights<double> value,
                     TransformerWeights<double> radius)
    : config_(std::move(config)), value_(std::move(value)), radius_(std::move(radius)) {
  require_fits(value_, config_);
  require_fits(radius_, config_);
}

std::vector<Index> consecutive(Index first, Index count) {
  std::vector<Index> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), first);
  return numbers;
}

StoredMlp read_mlp(const StoredModel& model, Index layer) {
  const MlpConfig& config = model.config().mlp;
  StoredNeurons all = model.neurons(layer)->read(consecutive(0, config.width));
  const Index width = model.config().model_width;
  const auto assemble = [&](Matrix<double> StoredMatrix::*part) {
    Mlp<double> mlp;
    if (config.input_bias) {
      mlp.up_bias = (all.up.*part).row(width);
      if (config.gated) mlp.gate_bias = (all.gate.*part).row(width);
    }
    mlp.up = (all.up.*part).topRows(width);
    if (config.gated) mlp.gate = (all.gate.*part).topRows(width);
    mlp.down = blocked_transpose(all.down.*part);
    if (config.output_bias) mlp.down_bias = model.mlp_bias(layer).*part;
    return mlp;
  };
  return {assemble(&StoredMatrix::value), assemble(&StoredMatrix::radius)};
}

StoredBlock read_block(const StoredModel& model, Index layer) {
  const auto norm = [&](NormPlace place) { return model.norm(place, layer); };
  const StoredNorm attention_input = norm(NormPlace::AttentionInput);
  const StoredNorm attention_output = norm(NormPlace::AttentionOutput);
  const StoredNorm mlp_input = norm(NormPlace::MlpInput);
  const StoredNorm mlp_output = norm(NormPlace::MlpOutput);
  StoredAttention attention = model.attention(layer);
  StoredMlp mlp = read_mlp(model, layer);
  return {{attention_input.value, attention_output.value, mlp_input.value, mlp_output.value,
           std::move(attention.weights), std::move(mlp.value)},
          {attention_input.radius, attention_output.radius, mlp_input.radius, mlp_output.radius,
           std::move(attention.radius), std::move(mlp.radius)}};
}

StoredMatrix HeldModel::rows(Table table, Index first, Index count) const {
  if (table == Table::Positions && !config_.learns_positions()) {
    const Index width = config_.model_width;
    using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Eigen::Map<const Rows> all(config_.fixed_positions.data(), config_.positions, width);
    return {all.middleRows(first, count), Matrix<double>::Zero(count, width)};
  }
  return {table_of(config_, value_, table).middleRows(first, count),
          table_of(config_, radius_, table).middleRows(first, count)};
}

StoredNorm HeldModel::norm(NormPlace place, Index layer) const {
  return {norm_of(value_, place, layer), norm_of(radius_, place, layer)};
}

StoredAttention HeldModel::attention(Index layer) const {
  const auto at = static_cast<std::size_t>(layer);
  return {config_.attention[at], value_.blocks[at].attention, radius_.blocks[at].attention};
}

std::unique_ptr<NeuronReader> HeldModel::neurons(Index layer) const {
  const auto at = static_cast<std::size_t>(layer);
  return std::make_unique<HeldNeurons>(value_.blocks[at].mlp, radius_.blocks[at].mlp);
}

StoredMatrix HeldModel::mlp_bias(Index layer) const {
  const auto at = static_cast<std::size_t>(layer);
  return {value_.blocks[at].mlp.down_bias, radius_.blocks[at].mlp.down_bias};
}

StoredMatrix HeldModel::head_bias() const { return {value_.head_bias, radius_.head_bias}; }

StoredTransform HeldModel::head_transform() const { return {value_.head_transform, radius_.head_transform}; }

StoredTask HeldModel::task(std::size_t index) const { return {value_.tasks[index], radius_.tasks[index]}; }

}  // namespace attnsym
