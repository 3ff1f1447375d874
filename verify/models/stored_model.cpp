#include "verify/models/stored_model.hpp"

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

StoredBlock HeldModel::block(Index layer) const {
  const auto at = static_cast<std::size_t>(layer);
  return {value_.blocks[at], radius_.blocks[at]};
}

StoredMatrix HeldModel::rows(Table table, Index first, Index count) const {
  return {table_of(config_, value_, table).middleRows(first, count),
          table_of(config_, radius_, table).middleRows(first, count)};
}

StoredNorm HeldModel::embedding_norm() const { return {value_.embedding_norm, radius_.embedding_norm}; }

StoredNorm HeldModel::final_norm() const { return {value_.final_norm, radius_.final_norm}; }

StoredMatrix HeldModel::head_bias() const { return {value_.head_bias, radius_.head_bias}; }

}  // namespace attnsym
