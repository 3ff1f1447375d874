#include "verify/transformer_forward.hpp"

#include <cmath>
#include <string>

#include "symmetry/dual.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "verify/attend.hpp"

namespace attnsym {
namespace {

template <class S>
S activated(const S& x, Activation activation) {
  using std::erf;
  using std::exp;
  using std::tanh;
  switch (activation) {
    case Activation::Gelu:
      return x * (S(1) + erf(S(x * S(std::sqrt(0.5))))) / S(2);
    case Activation::GeluTanh:
      return x * (S(1) + tanh(S(S(std::sqrt(2 / std::acos(-1.0))) * (x + S(0.044715) * x * x * x)))) / S(2);
    case Activation::Silu:
      return x / (S(1) + exp(S(-x)));
    case Activation::Relu:
      return x < S(0) ? S(0) : x;
    case Activation::Tanh:
      return tanh(x);
  }
  return x;
}

template <class S>
Matrix<S> projected(const Matrix<S>& tokens, const Matrix<S>& weight, const RowVector<S>& bias) {
  Matrix<S> result = multiply(tokens, weight);
  if (bias.size() > 0) result.rowwise() += bias;
  return result;
}

template <class S>
Matrix<S> normalized(const TransformerConfig& config, const Norm<S>& norm, Matrix<S> stream) {
  using std::sqrt;
  const S width(static_cast<double>(stream.cols()));
  for (Index n = 0; n < stream.rows(); ++n) {
    RowVector<S> token = stream.row(n);
    if (config.norm == NormKind::Layer) token.array() -= S(token.sum() / width);
    S squares(0);
    for (Index k = 0; k < token.size(); ++k) squares += token(k) * token(k);
    const S size = sqrt(S(squares / width + S(config.norm_epsilon)));
    for (Index k = 0; k < token.size(); ++k) stream(n, k) = token(k) / size * norm.gain(k);
    if (norm.bias.size() > 0) stream.row(n) += norm.bias;
  }
  return stream;
}

template <class S>
Matrix<S> activated(Matrix<S> hidden, Activation activation) {
  for (Index i = 0; i < hidden.size(); ++i) hidden.data()[i] = activated<S>(S(hidden.data()[i]), activation);
  return hidden;
}

template <class S>
Matrix<S> perceive(const MlpConfig& config, const Mlp<S>& mlp, const Matrix<S>& tokens) {
  Matrix<S> hidden = projected<S>(tokens, mlp.up, mlp.up_bias);
  if (config.gated) {
    const Matrix<S> gate = activated<S>(projected<S>(tokens, mlp.gate, mlp.gate_bias), config.activation);
    hidden = hidden.cwiseProduct(gate).eval();
  } else {
    hidden = activated<S>(std::move(hidden), config.activation);
  }
  return projected<S>(hidden, mlp.down, mlp.down_bias);
}

template <class S>
Matrix<S> transformed(const TransformerConfig& model, const TransformConfig& config,
                      const Transform<S>& transform, const Matrix<S>& tokens) {
  if (config.width == 0) return tokens;
  Matrix<S> hidden = activated<S>(projected<S>(tokens, transform.dense, transform.bias), config.activation);
  return config.norm ? normalized<S>(model, transform.norm, std::move(hidden)) : hidden;
}

// The outputs of one task for every token, 0 where it does not read it.
template <class S>
Matrix<S> task_outputs(const TransformerConfig& model, const TaskConfig& config, const Task<S>& task,
                       const Matrix<S>& last) {
  const Index count = last.rows();
  const Index first = config.tokens == ReadTokens::Last ? count - 1 : 0;
  const Index read = config.tokens == ReadTokens::All ? count : 1;
  Matrix<S> hidden =
      transformed<S>(model, config.transform, task.transform, Matrix<S>(last.middleRows(first, read)));
  if (config.outputs > 0) hidden = projected<S>(hidden, task.output, task.output_bias);
  Matrix<S> outputs = Matrix<S>::Zero(count, hidden.cols());
  outputs.middleRows(first, read) = hidden;
  return outputs;
}

template <class S>
Matrix<S> head_outputs(const TransformerConfig& config, const TransformerWeights<S>& weights,
                       const Matrix<S>& last) {
  using std::tanh;
  if (config.head == Head::None) return last;
  if (config.head == Head::Tasks) return Matrix<S>(last.rows(), 0);
  const Matrix<S>& rows = config.head == Head::Tied ? weights.embedding : weights.unembedding;
  Matrix<S> output =
      multiply_nt(transformed<S>(config, config.head_transform, weights.head_transform, last), rows);
  if (weights.head_bias.size() > 0) output.rowwise() += weights.head_bias;
  if (config.logit_softcap == 0) return output;
  const S cap(config.logit_softcap);
  for (Index i = 0; i < output.size(); ++i) output.data()[i] = cap * tanh(S(output.data()[i] / cap));
  return output;
}

// The stream with what one branch brings.
template <class S, class Branch>
Matrix<S> joined(const TransformerConfig& config, const Norm<S>& input, const Norm<S>& output,
                 const Matrix<S>& stream, Branch branch) {
  Matrix<S> brought = branch(config.norms_before() ? normalized<S>(config, input, stream) : stream);
  if (config.placement == NormPlacement::After) return normalized<S>(config, output, stream + brought);
  if (config.norms_behind()) brought = normalized<S>(config, output, std::move(brought));
  return stream + brought;
}

}  // namespace

template <ForwardScalar S>
Matrix<S> embed(const TransformerConfig& config, const TransformerWeights<S>& weights, const Tokens& tokens) {
  const auto first = static_cast<Index>(config.class_token);  // position of the first token
  const Index count = static_cast<Index>(tokens.size()) + first;
  if (config.positions > 0 && count + config.position_offset > config.positions)
    throw ShapeError(std::to_string(tokens.size()) + " tokens are more than there are positions");
  Matrix<S> stream = Matrix<S>::Zero(count, config.model_width);
  for (Index n = 0; n < count; ++n) {
    if (n >= first) {
      const Index token = tokens[static_cast<std::size_t>(n - first)];
      if (token < 0 || token >= config.token_ids())
        throw ShapeError("token " + std::to_string(token) + " of " + std::to_string(config.token_ids()));
      if (token < config.vocabulary) stream.row(n) = S(config.embedding_scale) * weights.embedding.row(token);
    }
    const Index position = n + config.position_offset;
    if (config.learns_positions()) stream.row(n) += weights.positions.row(position);
    for (Index k = 0; k < stream.cols() && !config.fixed_positions.empty(); ++k)
      stream(n, k) += S(config.fixed_positions[static_cast<std::size_t>(position * stream.cols() + k)]);
    if (config.token_types > 0) stream.row(n) += weights.token_types.row(n < first ? 1 : 0);
  }
  return config.embedding_norm ? normalized<S>(config, weights.embedding_norm, std::move(stream)) : stream;
}

template <ForwardScalar S>
Matrix<S> run_block(const TransformerConfig& config, const Block<S>& block, Index layer,
                    const Matrix<S>& stream) {
  const auto attention = [&](const Matrix<S>& tokens) {
    return attend<S>(config.attention[static_cast<std::size_t>(layer)], block.attention, tokens);
  };
  const auto mlp = [&](const Matrix<S>& tokens) { return perceive<S>(config.mlp, block.mlp, tokens); };
  if (config.parallel) {
    const Norm<S>& mlp_input = config.shared_norm ? block.attention_input : block.mlp_input;
    return stream + attention(normalized<S>(config, block.attention_input, stream)) +
           mlp(normalized<S>(config, mlp_input, stream));
  }
  const Matrix<S> between =
      joined<S>(config, block.attention_input, block.attention_output, stream, attention);
  return joined<S>(config, block.mlp_input, block.mlp_output, between, mlp);
}

template <ForwardScalar S>
Matrix<S> read_out(const TransformerConfig& config, const TransformerWeights<S>& weights,
                   const Matrix<S>& stream) {
  const Matrix<S> last = config.final_norm ? normalized<S>(config, weights.final_norm, stream) : stream;
  Matrix<S> outputs(stream.rows(), config.output_width());
  outputs.leftCols(config.head_width()) = head_outputs<S>(config, weights, last);
  Index at = config.head_width();
  for (std::size_t i = 0; i < config.tasks.size(); ++i) {
    const TaskConfig& task = config.tasks[i];
    outputs.middleCols(at, task.output_width()) = task_outputs<S>(config, task, weights.tasks[i], last);
    at += task.output_width();
  }
  return outputs;
}

template <ForwardScalar S>
Matrix<S> run_transformer(const TransformerConfig& config, const TransformerWeights<S>& weights,
                          const Tokens& tokens) {
  require_fits(weights, config);
  Matrix<S> stream = embed(config, weights, tokens);
  for (Index layer = 0; layer < config.blocks(); ++layer)
    stream = run_block(config, weights.blocks[static_cast<std::size_t>(layer)], layer, stream);
  return read_out(config, weights, stream);
}

template <ForwardScalar S>
Matrix<S> log_probabilities(Matrix<S> logits) {
  using std::exp;
  using std::log;
  for (Index n = 0; n < logits.rows(); ++n) {
    S largest = logits(n, 0);
    for (Index k = 1; k < logits.cols(); ++k) largest = largest < logits(n, k) ? logits(n, k) : largest;
    S sum(0);
    for (Index k = 0; k < logits.cols(); ++k) sum += exp(S(logits(n, k) - largest));
    const S shift = largest + log(sum);
    for (Index k = 0; k < logits.cols(); ++k) logits(n, k) -= shift;
  }
  return logits;
}

template Matrix<double> embed(const TransformerConfig&, const TransformerWeights<double>&, const Tokens&);
template Matrix<double> run_block(const TransformerConfig&, const Block<double>&, Index,
                                  const Matrix<double>&);
template Matrix<double> read_out(const TransformerConfig&, const TransformerWeights<double>&,
                                 const Matrix<double>&);
template Matrix<double> run_transformer(const TransformerConfig&, const TransformerWeights<double>&,
                                        const Tokens&);
template Matrix<double> log_probabilities(Matrix<double>);
template Matrix<Dual> run_transformer(const TransformerConfig&, const TransformerWeights<Dual>&,
                                      const Tokens&);
template Matrix<Dual> log_probabilities(Matrix<Dual>);

}  // namespace attnsym
