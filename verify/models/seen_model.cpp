#include "verify/models/seen_model.hpp"

#include <cmath>

#include "verify/models/stored_algebra.hpp"

namespace attnsym {
namespace {

StoredMatrix gain_of(const StoredNorm& norm) { return {norm.value.gain, norm.radius.gain}; }
StoredMatrix bias_of(const StoredNorm& norm) { return {norm.value.bias, norm.radius.bias}; }

// Multiplies a norm into one reader: gain into the weight, bias into the reader's bias. What centred inputs
// do not see stays; attention knows that itself.
void fold(const StoredNorm& norm, StoredMatrix& weight, StoredMatrix& bias) {
  if (weight.value.size() == 0 || norm.value.gain.size() == 0) return;
  if (norm.value.bias.size() > 0) bias = sum(bias, product(bias_of(norm), weight));
  weight = scaled_rows(gain_of(norm), std::move(weight));
}

// The same for slots of weights and radii.
template <class Bias>
void fold_slots(const StoredNorm& norm, Matrix<double>& weight, Matrix<double>& weight_radius, Bias& bias,
                Bias& bias_radius) {
  StoredMatrix seen{std::move(weight), std::move(weight_radius)};
  StoredMatrix seen_bias{bias, bias_radius};
  fold(norm, seen, seen_bias);
  weight = std::move(seen.value);
  weight_radius = std::move(seen.radius);
  bias = seen_bias.value;
  bias_radius = seen_bias.radius;
}

// The same, and what is blind to means has none.
void fold_task_reader(const TransformerConfig& config, const StoredNorm& norm, Matrix<double>& weight,
                      Matrix<double>& weight_radius, RowVector<double>& bias,
                      RowVector<double>& bias_radius) {
  if (norm.value.gain.size() == 0) return;
  fold_slots(norm, weight, weight_radius, bias, bias_radius);
  if (config.norm != NormKind::Layer) return;
  StoredMatrix centred = centred_columns({std::move(weight), std::move(weight_radius)});
  weight = std::move(centred.value);
  weight_radius = std::move(centred.radius);
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

// Neurons with the norm in front of them multiplied in, and without what later norms take away.
class SeenNeurons : public NeuronReader {
 public:
  SeenNeurons(std::unique_ptr<NeuronReader> stored, StoredNorm norm, bool centres, bool centred_outputs)
      : stored_(std::move(stored)),
        norm_(std::move(norm)),
        centres_(centres),
        centred_outputs_(centred_outputs) {}

  Index count() const override { return stored_->count(); }

  StoredNeurons read(std::span<const Index> which) const override {
    StoredNeurons neurons = stored_->read(which);
    if (norm_.value.gain.size() > 0) {
      fold_columns(neurons.gate);
      fold_columns(neurons.up);
    }
    if (centred_outputs_) neurons.down = centred_columns(std::move(neurons.down));
    return neurons;
  }

 private:
  // As fold, of weights with their biases below.
  void fold_columns(StoredMatrix& columns) const {
    if (columns.value.size() == 0) return;
    const Index width = norm_.value.gain.size();
    const Eigen::ArrayXd gain = norm_.value.gain.transpose();
    const Eigen::ArrayXd gain_squares = gain.square();
    const Eigen::ArrayXd error_squares = norm_.radius.gain.transpose().array().square();
    for (Index k = 0; k < columns.value.cols(); ++k) {
      auto weight = columns.value.col(k).head(width).array();
      auto errors = columns.radius.col(k).head(width).array();
      if (norm_.value.bias.size() > 0) add_bias(columns, k);
      errors = (gain_squares * errors.square() + error_squares * weight.square()).sqrt();
      weight *= gain;
    }
    if (!centres_) return;
    const StoredMatrix centred =
        centred_columns({columns.value.topRows(width), columns.radius.topRows(width)});
    columns.value.topRows(width) = centred.value;
    columns.radius.topRows(width) = centred.radius;
  }

  void add_bias(StoredMatrix& columns, Index k) const {
    const Index width = norm_.value.bias.size();
    const auto weight = columns.value.col(k).head(width);
    const auto errors = columns.radius.col(k).head(width);
    columns.value(width, k) += norm_.value.bias.dot(weight);
    const double variance = norm_.value.bias.cwiseAbs2().dot(errors.cwiseAbs2()) +
                            norm_.radius.bias.cwiseAbs2().dot(weight.cwiseAbs2());
    columns.radius(width, k) = std::hypot(columns.radius(width, k), std::sqrt(variance));
  }

  std::unique_ptr<NeuronReader> stored_;
  StoredNorm norm_;
  bool centres_;
  bool centred_outputs_;
};

StoredMatrix mean_row(const StoredMatrix& rows) {
  const auto count = static_cast<double>(rows.value.rows());
  return {rows.value.colwise().mean(), rows.radius.colwise().norm() / count};
}

}  // namespace

SeenModel::SeenModel(const StoredModel& model) : model_(model) {
  const TransformerConfig& c = model.config();
  if (c.token_types > 0) types_ = model.rows(Table::TokenTypes, 0, c.class_token ? 2 : 1);
  if (c.positions > 0)
    mean_position_ =
        mean_row(model.rows(Table::Positions, c.position_offset, c.positions - c.position_offset));
}

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

std::optional<SeenModel::Place> SeenModel::place_before(Reader reader, Index layer) const {
  const TransformerConfig& c = config();
  if (reader == Reader::Last && c.final_norm) return Place{NormPlace::Final, 0};
  if (c.placement == NormPlacement::After) {
    if (reader == Reader::Mlp) return Place{NormPlace::AttentionOutput, layer};
    const Index before = reader == Reader::Last ? c.blocks() : layer;
    if (before == 0) return Place{NormPlace::Embedding, 0};
    return Place{NormPlace::MlpOutput, before - 1};
  }
  if (reader == Reader::Last || !c.norms_before()) return std::nullopt;
  const bool first = reader == Reader::Attention || c.shared_norm;
  return Place{first ? NormPlace::AttentionInput : NormPlace::MlpInput, layer};
}

StoredNorm SeenModel::norm_before(Reader reader, Index layer) const {
  const auto place = place_before(reader, layer);
  return place ? model_.norm(place->norm, place->layer) : StoredNorm{};
}

// The norm that rows of the unembedding read behind.
StoredNorm SeenModel::norm_before_head() const {
  if (config().head_transform.width == 0) return norm_before(Reader::Last, 0);
  const StoredTransform transform = model_.head_transform();
  return {transform.value.norm, transform.radius.norm};
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

std::unique_ptr<NeuronReader> SeenModel::neurons(Index layer) const {
  return std::make_unique<SeenNeurons>(model_.neurons(layer), norm_before(Reader::Mlp, layer),
                                       config().norm == NormKind::Layer, is_centred());
}

StoredMatrix SeenModel::mlp_bias(Index layer) const {
  StoredMatrix bias = model_.mlp_bias(layer);
  if (config().placement == NormPlacement::After) bias = sum(bias, bias_of(norm_before(Reader::Mlp, layer)));
  return is_centred() ? centred_rows(std::move(bias)) : bias;
}

StoredNorm SeenModel::norm_behind(NormPlace place, Index layer) const {
  StoredNorm norm = model_.norm(place, layer);
  if (config().placement != NormPlacement::After) return norm;
  norm.value.bias.resize(0);
  norm.radius.bias.resize(0);
  return norm;
}

Index SeenModel::row_count(Table table) const {
  if (table == Table::Unembedding) return config().head_width();
  if (table == Table::TokenTypes && config().class_token) return 0;
  return attnsym::row_count(config(), table) - (table == Table::Positions ? config().position_offset : 0);
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
    const StoredNorm norm = norm_before_head();
    if (norm.value.gain.size() == 0) return rows;
    rows = scaled_columns(gain_of(norm), std::move(rows));
    if (config().norm == NormKind::Layer) rows = centred_rows(std::move(rows));
    return rows;
  }
  StoredMatrix rows =
      model_.rows(table, first + (table == Table::Positions ? config().position_offset : 0), count);
  if (table == Table::Embedding) rows = scaled(std::move(rows), config().embedding_scale);
  const bool keeps = config().class_token && table == Table::Embedding;
  if (!keeps) rows = sum(rows, common_part(table, first, count));
  if (has_centred_embeddings()) rows = centred_rows(std::move(rows));
  return rows;
}

// What is added to rows of a table because others lose it.
StoredMatrix SeenModel::common_part(Table table, Index first, Index count) const {
  const auto repeated = [count](const StoredMatrix& row, double factor) -> StoredMatrix {
    if (row.value.size() == 0) return {};
    return {factor * row.value.replicate(count, 1), row.radius.replicate(count, 1)};
  };
  if (config().class_token) {
    StoredMatrix part = repeated({types_.value.row(0), types_.radius.row(0)}, 1);
    if (first == 0) {
      part.value.row(0) = types_.value.row(1);
      part.radius.row(0) = types_.radius.row(1);
    }
    return part;
  }
  if (table == Table::Embedding) return repeated(sum(mean_position_, types_), 1);
  return repeated(table == Table::Positions ? mean_position_ : types_, -1);
}

StoredMatrix SeenModel::output_bias() const {
  StoredMatrix bias = model_.head_bias();
  const StoredNorm norm = norm_before_head();
  if (norm.value.bias.size() == 0) return bias;
  if (config().head == Head::None) return bias_of(norm);
  if (config().head == Head::Tasks) return bias;
  constexpr Index chunk = 128;  // rows that stay in the cache
  const StoredMatrix column{norm.value.bias.transpose(), norm.radius.bias.transpose()};
  StoredMatrix added{Matrix<double>(1, config().vocabulary), Matrix<double>(1, config().vocabulary)};
  for (Index first = 0; first < config().vocabulary; first += chunk) {
    const Index count = std::min(chunk, config().vocabulary - first);
    const StoredMatrix rows = model_.rows(Table::Unembedding, first, count);
    const StoredMatrix part = product(rows, column);
    added.value.middleCols(first, count) = part.value.transpose();
    added.radius.middleCols(first, count) = part.radius.transpose();
  }
  return sum(bias, added);
}

StoredTransform SeenModel::head_transform() const {
  StoredTransform transform = model_.head_transform();
  const StoredNorm norm = norm_before(Reader::Last, 0);
  fold_task_reader(config(), norm, transform.value.dense, transform.radius.dense, transform.value.bias,
                   transform.radius.bias);
  transform.value.norm = transform.radius.norm = {};
  return transform;
}

StoredTask SeenModel::task(std::size_t index) const {
  StoredTask task = model_.task(index);
  Transform<double>& transform = task.value.transform;
  Transform<double>& errors = task.radius.transform;
  StoredNorm norm = norm_before(Reader::Last, 0);
  if (transform.dense.size() > 0) {
    fold_task_reader(config(), norm, transform.dense, errors.dense, transform.bias, errors.bias);
    norm = {transform.norm, errors.norm};
  }
  if (task.value.output.size() == 0) return task;
  fold_task_reader(config(), norm, task.value.output, task.radius.output, task.value.output_bias,
                   task.radius.output_bias);
  transform.norm = errors.norm = {};
  return task;
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
