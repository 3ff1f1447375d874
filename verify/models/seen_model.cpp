#include "verify/models/seen_model.hpp"

#include <cmath>

#include "verify/models/stored_algebra.hpp"

namespace attnsym {
namespace {

StoredMatrix gain_of(const StoredNorm& norm) { return {norm.value.gain, norm.radius.gain}; }
StoredMatrix bias_of(const StoredNorm& norm) { return {norm.value.bias, norm.radius.bias}; }

// Multiplies a norm into one reader: gain into the weight, bias into the reader's bias.
void fold(const StoredNorm& norm, bool centres, StoredMatrix& weight, StoredMatrix& bias) {
  if (weight.value.size() == 0 || norm.value.gain.size() == 0) return;
  if (norm.value.bias.size() > 0) bias = sum(bias, product(bias_of(norm), weight));
  weight = scaled_rows(gain_of(norm), weight);
  if (centres) weight = centred_columns(std::move(weight));
}

// The same for slots of weights and radii.
template <class Bias>
void fold_slots(const StoredNorm& norm, Matrix<double>& weight, Matrix<double>& weight_radius, Bias& bias,
                Bias& bias_radius) {
  StoredMatrix seen{std::move(weight), std::move(weight_radius)};
  StoredMatrix seen_bias{bias, bias_radius};
  // Attention knows itself what centred inputs do not see.
  fold(norm, false, seen, seen_bias);
  weight = std::move(seen.value);
  weight_radius = std::move(seen.radius);
  bias = seen_bias.value;
  bias_radius = seen_bias.radius;
}

void fold_into_attention(const StoredNorm& norm, StoredAttention& module) {
  if (norm.value.gain.size() == 0) return;
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    KvGroup<double>& value = module.weights.groups[j];
    KvGroup<double>& radius = module.radius.groups[j];
    fold_slots(norm, value.key, radius.key, value.key_bias, radius.key_bias);
    fold_slots(norm, value.value, radius.value, value.value_bias, radius.value_bias);
    for (std::size_t i = 0; i < value.readers.size(); ++i) {
      QueryHead<double>& reader = value.readers[i];
      QueryHead<double>& errors = radius.readers[i];
      fold_slots(norm, reader.query, errors.query, reader.query_bias, errors.query_bias);
      if (module.config.output_gate)
        fold_slots(norm, reader.gate, errors.gate, reader.gate_bias, errors.gate_bias);
    }
  }
  if (norm.value.bias.size() == 0) return;
  AttentionConfig& config = module.config;
  config.query_bias = config.key_bias = config.value_bias = true;
  config.gate_bias = config.output_gate;
}

// Adds to what attention writes whatever the tokens.
void add_output_bias(StoredAttention& module, const StoredMatrix& bias) {
  if (bias.value.size() == 0) return;
  const StoredMatrix total = sum({module.weights.output_bias, module.radius.output_bias}, bias);
  module.weights.output_bias = total.value;
  module.radius.output_bias = total.radius;
  module.config.output_bias = true;
}

void centre_outputs(StoredAttention& module) {
  const auto centre = [](auto& value, auto& radius) {
    StoredMatrix centred = centred_rows({value, radius});
    value = std::move(centred.value);
    radius = std::move(centred.radius);
  };
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    for (std::size_t i = 0; i < module.weights.groups[j].readers.size(); ++i)
      centre(module.weights.groups[j].readers[i].output, module.radius.groups[j].readers[i].output);
  }
  centre(module.weights.output_bias, module.radius.output_bias);
}

SeenMlp seen(StoredMlp mlp) {
  const auto pair = [](auto& value, auto& radius) {
    return StoredMatrix{std::move(value), std::move(radius)};
  };
  Mlp<double>& value = mlp.value;
  Mlp<double>& radius = mlp.radius;
  return {pair(value.up, radius.up),
          pair(value.gate, radius.gate),
          pair(value.down, radius.down),
          pair(value.up_bias, radius.up_bias),
          pair(value.gate_bias, radius.gate_bias),
          pair(value.down_bias, radius.down_bias)};
}

StoredMatrix mean_row(const StoredMatrix& rows) {
  const auto count = static_cast<double>(rows.value.rows());
  return {rows.value.colwise().mean(), rows.radius.colwise().norm() / count};
}

}  // namespace

bool SeenModel::is_centred() const {
  const TransformerConfig& c = config();
  if (c.norm != NormKind::Layer) return false;
  return c.placement == NormPlacement::After || (c.placement == NormPlacement::Before && c.final_norm);
}

bool SeenModel::has_centred_embeddings() const {
  if (config().embedding_norm) return config().norm == NormKind::Layer;
  // Without a norm of their own the first block of a post-norm model reads embeddings as they are.
  return is_centred() && config().placement == NormPlacement::Before;
}

bool SeenModel::is_rigid() const { return config().norms_behind() || config().embedding_norm; }

StoredNorm SeenModel::norm_before(Reader reader, Index layer) const {
  const TransformerConfig& c = config();
  if (reader == Reader::Head && c.final_norm) return model_.norm(NormPlace::Final, 0);
  if (c.placement == NormPlacement::After) {
    if (reader == Reader::Mlp) return model_.norm(NormPlace::AttentionOutput, layer);
    const Index before = reader == Reader::Head ? c.blocks() : layer;
    if (before == 0) return model_.norm(NormPlace::Embedding, 0);
    return model_.norm(NormPlace::MlpOutput, before - 1);
  }
  if (reader == Reader::Head || !c.norms_before()) return {};
  const bool first = reader == Reader::Attention || c.shared_norm;
  return model_.norm(first ? NormPlace::AttentionInput : NormPlace::MlpInput, layer);
}

StoredAttention SeenModel::attention(Index layer) const {
  const StoredNorm norm = norm_before(Reader::Attention, layer);
  StoredAttention module = model_.attention(layer);
  module.config.centred_inputs = config().norm == NormKind::Layer && norm.value.gain.size() > 0;
  fold_into_attention(norm, module);
  // What norms add to the stream the next writer may add as well.
  if (config().placement == NormPlacement::After) add_output_bias(module, bias_of(norm));
  if (is_centred()) centre_outputs(module);
  return module;
}

SeenMlp SeenModel::neurons(Index layer, std::span<const Index> which) const {
  const StoredNorm norm = norm_before(Reader::Mlp, layer);
  SeenMlp mlp = seen(model_.neurons(layer, which));
  const bool centres = config().norm == NormKind::Layer;
  fold(norm, centres, mlp.up, mlp.up_bias);
  fold(norm, centres, mlp.gate, mlp.gate_bias);
  if (config().placement == NormPlacement::After) mlp.down_bias = sum(mlp.down_bias, bias_of(norm));
  if (!is_centred()) return mlp;
  mlp.down = centred_rows(std::move(mlp.down));
  mlp.down_bias = centred_rows(std::move(mlp.down_bias));
  return mlp;
}

StoredNorm SeenModel::norm_behind(NormPlace place, Index layer) const {
  StoredNorm norm = model_.norm(place, layer);
  if (config().placement != NormPlacement::After) return norm;
  norm.value.bias.resize(0);
  norm.radius.bias.resize(0);
  return norm;
}

// What all positions have in common, and token type 0.
StoredMatrix SeenModel::common_row() const {
  StoredMatrix row;
  if (config().positions > 0) row = mean_row(model_.rows(Table::Positions, 0, config().positions));
  if (config().token_types > 0) row = sum(row, model_.rows(Table::TokenTypes, 0, 1));
  return row;
}

Index SeenModel::row_count(Table table) const {
  if (table == Table::Unembedding) return config().output_width();
  return attnsym::row_count(config(), table);
}

StoredMatrix SeenModel::rows(Table table, Index first, Index count) const {
  const Index width = config().model_width;
  if (table == Table::Unembedding) {
    StoredMatrix rows;
    if (config().head == Head::None) {
      rows = {Matrix<double>::Zero(count, width), Matrix<double>::Zero(count, width)};
      for (Index k = 0; k < count; ++k) rows.value(k, first + k) = 1;
    } else {
      rows = model_.rows(table, first, count);
    }
    const StoredNorm norm = norm_before(Reader::Head, 0);
    if (norm.value.gain.size() == 0) return rows;
    rows = scaled_columns(gain_of(norm), std::move(rows));
    return config().norm == NormKind::Layer ? centred_rows(std::move(rows)) : rows;
  }
  StoredMatrix rows = model_.rows(table, first, count);
  const auto add_to_all = [&](const StoredMatrix& row, double factor) {
    if (row.value.size() == 0) return;
    rows.value.rowwise() += factor * row.value.row(0);
    const RowVector<double> squares = row.radius.row(0).cwiseAbs2();
    rows.radius = (rows.radius.cwiseAbs2().rowwise() + squares).cwiseSqrt().eval();
  };
  if (table == Table::Embedding) {
    rows = scaled(std::move(rows), config().embedding_scale);
    add_to_all(common_row(), 1);
  } else if (table == Table::Positions) {
    add_to_all(mean_row(model_.rows(table, 0, config().positions)), -1);
  } else {
    add_to_all(model_.rows(table, 0, 1), -1);
  }
  return has_centred_embeddings() ? centred_rows(std::move(rows)) : rows;
}

StoredMatrix SeenModel::output_bias() const {
  StoredMatrix bias = model_.head_bias();
  const StoredNorm norm = norm_before(Reader::Head, 0);
  if (norm.value.bias.size() == 0) return bias;
  if (config().head == Head::None) return bias_of(norm);
  constexpr Index chunk = 1024;
  StoredMatrix added{Matrix<double>(1, config().vocabulary), Matrix<double>(1, config().vocabulary)};
  for (Index first = 0; first < config().vocabulary; first += chunk) {
    const Index count = std::min(chunk, config().vocabulary - first);
    const StoredMatrix rows = model_.rows(Table::Unembedding, first, count);
    const StoredMatrix part = product(bias_of(norm), {rows.value.transpose(), rows.radius.transpose()});
    added.value.middleCols(first, count) = part.value;
    added.radius.middleCols(first, count) = part.radius;
  }
  return sum(bias, added);
}

StoredNorm SeenModel::embedding_norm() const {
  StoredNorm norm = norm_behind(NormPlace::Embedding, 0);
  if (norm.value.bias.size() == 0 || !is_centred()) return norm;
  const StoredMatrix bias = centred_rows(bias_of(norm));
  norm.value.bias = bias.value;
  norm.radius.bias = bias.radius;
  return norm;
}

}  // namespace attnsym
