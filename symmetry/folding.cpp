#include "symmetry/folding.hpp"

#include <vector>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// A linear map behind a norm, D x n, and its bias.
struct Reader {
  Matrix<double>* weight;
  RowVector<double>* bias;
};

std::vector<Reader> readers_of(AttentionWeights<double>& weights) {
  std::vector<Reader> readers;
  for (KvGroup<double>& group : weights.groups) {
    readers.push_back({&group.key, &group.key_bias});
    readers.push_back({&group.value, &group.value_bias});
    for (QueryHead<double>& reader : group.readers) {
      readers.push_back({&reader.query, &reader.query_bias});
      if (reader.gate.size() > 0) readers.push_back({&reader.gate, &reader.gate_bias});
    }
  }
  return readers;
}

std::vector<Reader> readers_of(Mlp<double>& mlp) {
  std::vector<Reader> readers{{&mlp.up, &mlp.up_bias}};
  if (mlp.gate.size() > 0) readers.push_back({&mlp.gate, &mlp.gate_bias});
  return readers;
}

void fold(Norm<double>& norm, const std::vector<Reader>& readers) {
  bool all_have_biases = true;
  for (const Reader& reader : readers) all_have_biases &= reader.bias->size() > 0;
  const bool keeps_bias = norm.bias.size() > 0 && !all_have_biases && !norm.bias.isZero(0);
  if (keeps_bias && (norm.gain.array() == 0).any())
    throw ShapeError("a gain of 0 cannot be folded beside a bias that has to stay in the norm");
  for (const Reader& reader : readers) {
    if (norm.bias.size() > 0 && all_have_biases) *reader.bias += norm.bias * *reader.weight;
    *reader.weight = (norm.gain.transpose().asDiagonal() * *reader.weight).eval();
  }
  if (keeps_bias) {
    norm.bias = norm.bias.cwiseQuotient(norm.gain).eval();
  } else {
    norm.bias.setZero();
  }
  norm.gain.setOnes();
}

void centre(Matrix<double>& rows) {
  if (rows.size() > 0) rows.colwise() -= rows.rowwise().mean().eval();
}

void centre(RowVector<double>& row) {
  if (row.size() > 0) row.array() -= row.mean();
}

}  // namespace

std::optional<std::string> gains_are_fixed(const TransformerConfig& config) {
  if (config.placement == NormPlacement::After)
    return "the norms behind attention and MLPs feed the stream itself";
  if (!config.norms_before()) return "nothing is normalised in front of attention and MLPs";
  return std::nullopt;
}

std::optional<std::string> final_gain_is_fixed(const TransformerConfig& config) {
  if (!config.final_norm) return "there is no final norm";
  if (config.head == Head::Tied && !config.ends_in_stream())
    return "embeddings are tied to the head, which reads behind the final norm";
  if (config.head == Head::None) return "the outputs are those of the final norm";
  return std::nullopt;
}

Block<double> with_folded_gains(const TransformerConfig& config, Index layer, Block<double> block) {
  if (const auto reason = gains_are_fixed(config)) throw ShapeError("gains cannot be folded: " + *reason);
  require_fits(block, config, layer);
  std::vector<Reader> readers = readers_of(block.attention);
  const std::vector<Reader> of_mlp = readers_of(block.mlp);
  if (config.shared_norm) {
    readers.insert(readers.end(), of_mlp.begin(), of_mlp.end());
  } else {
    fold(block.mlp_input, of_mlp);
  }
  fold(block.attention_input, readers);
  return block;
}

void fold_final_gain(const TransformerConfig& config, TransformerWeights<double>& weights) {
  if (const auto reason = final_gain_is_fixed(config))
    throw ShapeError("the final gain cannot be folded: " + *reason);
  std::vector<Reader> readers;
  Matrix<double> unembedding = weights.unembedding.transpose();
  const bool has_transform = config.head_transform.width > 0;
  if (has_transform) {
    readers.push_back({&weights.head_transform.dense, &weights.head_transform.bias});
  } else if (config.head == Head::Own) {
    readers.push_back({&unembedding, &weights.head_bias});
  }
  for (Task<double>& task : weights.tasks) {
    Transform<double>& transform = task.transform;
    readers.push_back(transform.dense.size() > 0 ? Reader{&transform.dense, &transform.bias}
                                                 : Reader{&task.output, &task.output_bias});
  }
  fold(weights.final_norm, readers);
  if (!has_transform) weights.unembedding = unembedding.transpose();
}

bool writes_means_in_vain(const TransformerConfig& config) {
  return config.norm == NormKind::Layer && config.placement == NormPlacement::Before && config.final_norm &&
         !config.embedding_norm;
}

Block<double> with_centred_writers(Block<double> block) {
  for (KvGroup<double>& group : block.attention.groups) {
    for (QueryHead<double>& reader : group.readers) centre(reader.output);
  }
  centre(block.attention.output_bias);
  centre(block.mlp.down);
  centre(block.mlp.down_bias);
  return block;
}

void centre_tables(const TransformerConfig& config, TransformerWeights<double>& weights) {
  if (config.head != Head::Tied) centre(weights.embedding);
  centre(weights.positions);
  centre(weights.token_types);
}

TransformerWeights<double> folded(const TransformerConfig& config, TransformerWeights<double> weights) {
  require_fits(weights, config);
  for (Index layer = 0; layer < config.blocks(); ++layer) {
    Block<double>& block = weights.blocks[static_cast<std::size_t>(layer)];
    if (!gains_are_fixed(config)) block = with_folded_gains(config, layer, std::move(block));
    if (writes_means_in_vain(config)) block = with_centred_writers(std::move(block));
  }
  if (!final_gain_is_fixed(config)) fold_final_gain(config, weights);
  if (writes_means_in_vain(config)) centre_tables(config, weights);
  return weights;
}

}  // namespace attnsym
