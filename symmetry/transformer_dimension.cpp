#include <Eigen/QR>
#include <algorithm>

#include "symmetry/transformer_group.hpp"

namespace attnsym {
namespace {

Index squared_half(Index n) { return n * (n - 1) / 2; }  // of the orthogonal group of n dimensions

bool is_layer(const TransformerConfig& config) { return config.norm == NormKind::Layer; }

// Whether every reader of attention has a bias, so that it can take over what a norm adds.
bool readers_have_biases(const AttentionConfig& config) {
  return config.query_bias && config.key_bias && config.value_bias &&
         (!config.output_gate || config.gate_bias);
}

// Neurons' own scales, and in every column that reads behind a LayerNorm what it is blind to.
Index neuron_dimension(const TransformerConfig& config, bool reads_centred) {
  const MlpConfig& mlp = config.mlp;
  const Index scales = (mlp.gated ? 1 : 0) + (mlp.activation == Activation::Relu ? 1 : 0);
  const Index columns = reads_centred && mlp.input_bias ? (mlp.gated ? 2 : 1) : 0;
  return (scales + columns) * mlp.width;
}

// Whether all that reads the last stream has numbers of its own.
bool reads_freely(const TransformerConfig& config) {
  return config.head != Head::None && (config.head != Head::Tied || config.ends_in_stream());
}

// Columns with a bias that read the last stream.
Index biased_columns(const TransformerConfig& config) {
  Index columns = config.head_transform.width;
  if (columns == 0 && config.head_bias) columns = config.vocabulary;
  for (const TaskConfig& task : config.tasks)
    columns += task.transform.width > 0 ? task.transform.width : task.bias ? task.outputs : 0;
  return columns;
}

// What a transform trades with a map behind it.
Index transform_dimension(const TransformConfig& transform, bool is_layer, Index biases) {
  if (transform.width == 0) return 0;
  if (transform.norm) return is_layer ? 2 * transform.width + biases : transform.width;
  return transform.activation == Activation::Relu ? transform.width : 0;
}

Index transform_dimension(const TransformerConfig& config) {
  const bool layer = is_layer(config);
  Index dimension = 0;
  if (config.head == Head::Own)
    dimension = transform_dimension(config.head_transform, layer, config.head_bias ? config.vocabulary : 0);
  // Biases of all logits take over what embeddings read of a bias.
  if (config.ends_in_stream() && config.head_transform.norm && layer && config.head_bias)
    dimension = config.head_transform.width;
  for (const TaskConfig& task : config.tasks) {
    if (task.outputs > 0)
      dimension += transform_dimension(task.transform, layer, task.bias ? task.outputs : 0);
  }
  return dimension;
}

}  // namespace

// Attention and neurons. Behind a LayerNorm a reader may add any multiple of 1/gain to a column, and take the
// constant that makes from its bias.
Index TransformerGroup::block_dimension(Index layer) const {
  AttentionConfig attention = config_.attention[static_cast<std::size_t>(layer)];
  const bool post = config_.placement == NormPlacement::After;
  const bool first_reads_raw = post && layer == 0 && !config_.embedding_norm;
  const bool reads_norm = config_.placement != NormPlacement::OnBranch;
  const bool centred = is_layer(config_) && reads_norm;
  attention.centred_inputs = centred && !first_reads_raw && readers_have_biases(attention);
  return symmetry_of(attention).dimension() + neuron_dimension(config_, centred);
}

// What gains and biases of norms trade with what reads behind them, and with what writes next.
Index TransformerGroup::norm_dimension() const {
  const Index d = config_.model_width;
  const Index blocks = config_.blocks();
  const Index per_norm = is_layer(config_) ? 2 * d : d;
  Index dimension = 0;
  if (config_.norms_before()) dimension += (config_.shared_norm ? 1 : 2) * blocks * per_norm;
  if (reads_freely(config_)) {
    dimension += per_norm;
    if (is_layer(config_)) dimension += biased_columns(config_);
  }
  dimension += transform_dimension(config_);
  if (config_.placement == NormPlacement::After) {
    // Biases between blocks move into the biases of the readers behind and the writer next; so do what
    // embeddings have in common, or the bias of their norm.
    if (is_layer(config_)) dimension += 2 * blocks * d;
    // Raw embeddings E may become E (1 + u 1^T), whose means nobody adds up, with the inverse in what reads
    // them.
    if (is_layer(config_) && !config_.embedding_norm) dimension += d;
  }
  return dimension;
}

// What fixed positions leave of the stream: rotations that keep the differences of all positions, while
// embeddings take over what these have in common.
Index TransformerGroup::stream_dimension_beside_positions() const {
  TransformerConfig learned = config_;
  learned.fixed_positions.clear();
  const Stream kind = TransformerGroup(learned).stream();
  if (kind != Stream::Orthogonal && kind != Stream::Centred) return 0;
  Matrix<double> rows = Eigen::Map<const Matrix<double>>(config_.fixed_positions.data(), config_.model_width,
                                                         config_.positions);
  rows = rows.rightCols(config_.positions - config_.position_offset).eval();
  rows.colwise() -= rows.rowwise().mean().eval();
  if (kind == Stream::Centred) rows.rowwise() -= rows.colwise().mean().eval();
  const Index rank = Eigen::ColPivHouseholderQR<Matrix<double>>(rows).rank();
  return squared_half(config_.model_width - (kind == Stream::Centred ? 1 : 0) - rank);
}

Index TransformerGroup::stream_dimension() const {
  if (!config_.fixed_positions.empty()) return stream_dimension_beside_positions();
  const Index d = config_.model_width;
  const Index blocks = config_.blocks();
  Index dimension = 0;
  if (stream() == Stream::Orthogonal) dimension += squared_half(d);
  if (stream() == Stream::Centred) dimension += squared_half(d - 1);
  const bool scales = config_.norm_epsilon == 0;
  if (scales && config_.embedding_norm) dimension += 1;
  if (scales && config_.placement == NormPlacement::After) {
    // One for every segment between norms; the last is a gain of the final norm.
    dimension += 2 * blocks;
  } else if (scales && config_.final_norm) {
    dimension += 1;
    if (config_.norms_behind()) dimension += 2 * blocks;  // of what every branch writes
  }
  return dimension;
}

// Shifts between tables, and means that nobody sees.
Index TransformerGroup::writer_dimension() const {
  const Index d = config_.model_width;
  const bool post = config_.placement == NormPlacement::After;
  const bool unseen =
      is_layer(config_) && (post || (config_.placement == NormPlacement::Before && config_.final_norm));
  const bool unseen_embeddings = is_layer(config_) && (config_.embedding_norm || (unseen && !post));
  // Not read are rows of positions in front of the first token's, and of types all but the first and that of
  // a class token: all other tokens are of type 0.
  const Index types_read = std::min<Index>(config_.token_types, config_.class_token ? 2 : 1);
  const Index positions_read = config_.learns_positions() ? config_.positions - config_.position_offset : 0;
  Index dimension = (config_.token_types - types_read) * d;
  if (config_.learns_positions()) dimension += config_.position_offset * d;
  // What all rows of a table have in common moves to another one. A class token's type stands beside its
  // position, that of all others beside theirs.
  Index shifts = config_.class_token ? types_read : Index{config_.learns_positions()} + types_read;
  // Of tied embeddings one shift is left: along 1/g, which the centred tokens of the head's LayerNorm do not
  // see but for a constant, that biases of the outputs take.
  const bool along_gain = shifts > 0 && config_.ends_in_stream() && is_layer(config_) &&
                          config_.head_transform.norm && config_.head_bias;
  if (along_gain) ++dimension;
  if (config_.head == Head::Tied) shifts = std::max<Index>(shifts - 1, 0);  // of tables beside embeddings
  dimension += shifts * (d - (unseen_embeddings ? 1 : 0));
  if (unseen_embeddings) dimension += positions_read + types_read;
  if (unseen_embeddings && config_.head != Head::Tied) dimension += config_.vocabulary;
  // Side by side, attention and MLP add their biases to one sum.
  if (config_.parallel && config_.mlp.output_bias) {
    for (const AttentionConfig& attention : config_.attention)
      dimension += attention.output_bias ? d - (unseen ? 1 : 0) : 0;
  }
  if (!unseen) return dimension;
  for (const AttentionConfig& attention : config_.attention)
    dimension += attention.heads * attention.value_width + Index{attention.output_bias};
  return dimension + config_.blocks() * (config_.mlp.width + Index{config_.mlp.output_bias});
}

Index TransformerGroup::dimension(Outputs outputs) const {
  Index dimension = norm_dimension() + stream_dimension() + writer_dimension();
  for (Index layer = 0; layer < config_.blocks(); ++layer) dimension += block_dimension(layer);
  if (outputs == Outputs::Probabilities && config_.head == Head::Own && config_.logit_softcap == 0)
    dimension += (config_.head_transform.width > 0 ? config_.head_transform.width : config_.model_width) +
                 Index{config_.head_bias};
  return dimension;
}

std::string TransformerGroup::describe() const {
  const std::string width = std::to_string(config_.model_width);
  std::string text = "stream ";
  switch (stream()) {
    case Stream::Fixed:
      text += config_.head == Head::None ? "fixed, as it is the output" : "fixed, as positions are";
      break;
    case Stream::Places:
      text += "permutations of " + width + " coordinates";
      break;
    case Stream::Permutations:
      text += "permutations of " + width + " coordinates and a common sign";
      break;
    case Stream::SignedPermutations:
      text += "signed permutations of " + width + " coordinates";
      break;
    case Stream::Centred:
      text += "O(" + std::to_string(config_.model_width - 1) + ") once gains are folded; means are not seen";
      break;
    case Stream::Orthogonal:
      text += "O(" + width + ") once gains are folded";
      break;
  }
  const bool is_relu = config_.mlp.activation == Activation::Relu;
  const std::string neurons = std::to_string(config_.mlp.width);
  text += "; per block S_" + neurons + " on neurons";
  if (config_.mlp.gated) text += ", any scale of each but 0";
  if (is_relu) text += config_.mlp.gated ? ", positive scales of gates" : ", positive scales";
  text += "; attention " + symmetry_of(config_.attention.front()).describe();
  if (config_.norms_before()) text += "; gains of norms against what reads behind them";
  if (config_.class_token) {
    text += "; shifts between the bias of patches, the class token and their positions";
  } else if (config_.learns_positions() && config_.head != Head::Tied) {
    text += "; a shift between embeddings and positions";
  }
  return text;
}

}  // namespace attnsym
