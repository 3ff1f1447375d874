#include "verify/measured_transformer.hpp"

#include <cmath>

#include "symmetry/random.hpp"
#include "verify/generic_weights.hpp"
#include "verify/transformer_forward.hpp"

namespace attnsym {
namespace {

// Numbers of the size of one, gains apart from zero.
class GenericTransformer {
 public:
  GenericTransformer(const TransformerConfig& config, Random& random) : config_(config), random_(random) {}

  TransformerWeights<double> draw() {
    const Index d = config_.model_width;
    TransformerWeights<double> weights;
    weights.embedding = matrix(config_.vocabulary, d, 1);
    weights.positions = matrix(config_.learns_positions() ? config_.positions : 0, d, 1);
    weights.token_types = matrix(config_.token_types, d, 1);
    weights.embedding_norm = norm(config_.embedding_norm);
    for (const AttentionConfig& attention : config_.attention) weights.blocks.push_back(block(attention));
    weights.final_norm = norm(config_.final_norm);
    const Index read = config_.head_transform.width > 0 ? config_.head_transform.width : d;
    weights.unembedding = matrix(config_.head == Head::Own ? config_.vocabulary : 0, read, 1);
    weights.head_bias = row(config_.head_bias, config_.vocabulary);
    weights.head_transform = transform(config_.head_transform);
    for (const TaskConfig& task : config_.tasks) {
      const Index width = task.transform.width > 0 ? task.transform.width : d;
      weights.tasks.push_back({transform(task.transform),
                               matrix(task.outputs > 0 ? width : 0, task.outputs, 1),
                               row(task.bias, task.outputs)});
    }
    return weights;
  }

 private:
  Matrix<double> matrix(Index rows, Index cols, double deviation) {
    Matrix<double> result(rows, rows > 0 ? cols : 0);
    for (Index i = 0; i < result.size(); ++i) result.data()[i] = deviation * random_.normal();
    return result;
  }

  RowVector<double> row(bool present, Index size) {
    return RowVector<double>(matrix(1, present ? size : 0, 0.5));
  }

  Norm<double> norm(bool present) { return norm(present, config_.model_width); }

  Norm<double> norm(bool present, Index width) {
    Norm<double> result{row(present, width), row(present && config_.norm == NormKind::Layer, width)};
    result.gain.array() += 1;
    return result;
  }

  Transform<double> transform(const TransformConfig& config) {
    const bool present = config.width > 0;
    return {matrix(present ? config_.model_width : 0, config.width, 0.5), row(present, config.width),
            norm(config.norm, config.width)};
  }

  Block<double> block(const AttentionConfig& attention) {
    const Index d = config_.model_width;
    const MlpConfig& mlp = config_.mlp;
    Block<double> result;
    result.attention_input = norm(config_.norms_before());
    result.attention_output = norm(config_.norms_behind());
    result.mlp_input = norm(config_.norms_before() && !config_.shared_norm);
    result.mlp_output = norm(config_.norms_behind());
    result.attention = generic_weights(attention, random_);
    result.mlp = {matrix(d, mlp.width, 0.5),
                  matrix(mlp.gated ? d : 0, mlp.width, 0.5),
                  matrix(mlp.width, d, 0.5),
                  row(mlp.input_bias, mlp.width),
                  row(mlp.input_bias && mlp.gated, mlp.width),
                  row(mlp.output_bias, d)};
    return result;
  }

  const TransformerConfig& config_;
  Random& random_;
};

}  // namespace

MeasuredDimension measure_dimension(const TransformerConfig& config,
                                    const TransformerMeasureOptions& options) {
  config.validate();
  Random random(options.seed);
  auto weights = cast<Dual>(GenericTransformer(config, random).draw());
  std::vector<Dual*> numbers;
  for_each_transformer_slot(weights, [&](auto& slot) {
    for (Index i = 0; i < slot.size(); ++i) numbers.push_back(slot.data() + i);
  });
  // Tokens travel as numbers.
  const auto draw_input = [&] {
    Matrix<double> tokens(1, options.tokens);
    for (Index n = 0; n < options.tokens; ++n)
      tokens(n) = static_cast<double>(random.below(config.token_ids()));
    return tokens;
  };
  const auto forward = [&](const Matrix<Dual>& input) {
    Tokens tokens;
    for (Index n = 0; n < input.size(); ++n) tokens.push_back(static_cast<Index>(input(n).value));
    Matrix<Dual> outputs = run_transformer(config, weights, tokens);
    return options.outputs == Outputs::Logits ? outputs : log_probabilities(std::move(outputs));
  };
  return measure_null_space(numbers, forward, draw_input);
}

}  // namespace attnsym
