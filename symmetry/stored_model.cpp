#include "symmetry/stored_model.hpp"

#include <numeric>
#include <type_traits>
#include <utility>

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

Mlp<double> some_neurons(const Mlp<double>& mlp, std::span<const Index> which) {
  const auto columns = [&](const auto& all) {
    using Slot = std::decay_t<decltype(all)>;
    return all.size() > 0 ? Slot(all(Eigen::all, which)) : Slot();
  };
  return {columns(mlp.up),      columns(mlp.gate),      mlp.down(which, Eigen::all),
          columns(mlp.up_bias), columns(mlp.gate_bias), mlp.down_bias};
}

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
  return config.head == Head::None ? 0 : config.vocabulary;
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

StoredBlock read_block(const StoredModel& model, Index layer) {
  const auto norm = [&](NormPlace place) { return model.norm(place, layer); };
  const StoredNorm attention_input = norm(NormPlace::AttentionInput);
  const StoredNorm attention_output = norm(NormPlace::AttentionOutput);
  const StoredNorm mlp_input = norm(NormPlace::MlpInput);
  const StoredNorm mlp_output = norm(NormPlace::MlpOutput);
  StoredAttention attention = model.attention(layer);
  StoredMlp mlp = model.neurons(layer, consecutive(0, model.config().mlp.width));
  return {{attention_input.value, attention_output.value, mlp_input.value, mlp_output.value,
           std::move(attention.weights), std::move(mlp.value)},
          {attention_input.radius, attention_output.radius, mlp_input.radius, mlp_output.radius,
           std::move(attention.radius), std::move(mlp.radius)}};
}

StoredMatrix HeldModel::rows(Table table, Index first, Index count) const {
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

StoredMlp HeldModel::neurons(Index layer, std::span<const Index> which) const {
  const auto at = static_cast<std::size_t>(layer);
  return {some_neurons(value_.blocks[at].mlp, which), some_neurons(radius_.blocks[at].mlp, which)};
}

StoredMatrix HeldModel::head_bias() const { return {value_.head_bias, radius_.head_bias}; }

}  // namespace attnsym
