#include "verify/models/token_witness.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "symmetry/errors.hpp"
#include "symmetry/safe_norm.hpp"
#include "verify/comparison.hpp"
#include "verify/hashed_random.hpp"
#include "verify/models/arithmetic_sums.hpp"
#include "verify/storage_error.hpp"
#include "verify/within_radius.hpp"

namespace attnsym {
namespace {

// One model on several sequences, as stored and with its numbers moved within their rounding: every piece is
// read once and used by all.
class Runs {
 public:
  Runs(const StoredModel& model, const std::vector<Tokens>& sequences, const TokenSearch& search)
      : model_(model), sequences_(sequences), search_(search), sums_(sums_of(model.config())) {}

  // By draw, then by sequence; draw 0 is as stored.
  std::vector<std::vector<Matrix<double>>> outputs() {
    streams_.assign(static_cast<std::size_t>(search_.draws) + 1, {});
    outputs_.assign(streams_.size(), {});
    for (std::size_t draw = 0; draw < streams_.size(); ++draw) {
      enter(draw);
      if (draw == 0) hash_stored_streams();
    }
    for (Index layer = 0; layer < model_.config().blocks(); ++layer) pass(layer);
    read();
    return std::move(outputs_);
  }

 private:
  // Noise behind this depends on every number that has had a part in the streams as stored: nobody can make
  // a model to suit it.
  void hash_stored_streams() {
    Hasher hasher;
    for (const Matrix<double>& stream : streams_[0]) hasher.add_all(stream);
    reseed(hasher);
  }

  void reseed(Hasher& hasher) {
    random_ = Random(HashedRandom(search_.seed, "noise of tokens", {hasher.digest()}).bits());
  }

  // The same room for arithmetic in the tools that made the files as equality has, piece by piece [N7].
  template <class Slot>
  void move(Slot& value, const Slot& radius, Index inner_width) {
    if (value.size() > 0)
      move_within_radius(value, radius.data(), random_, allowance_of(value, radius, inner_width));
  }

  template <class Slot>
  double allowance_of(const Slot& value, const Slot& radius, Index inner_width) const {
    return allowance(safe_norm(value), safe_norm(radius), inner_width);
  }

  double allowance(double size, double error, Index inner_width) const {
    return arithmetic_allowance(inner_width, stored_unit(size, error), model_.config().model_width);
  }

  StoredMatrix drawn(std::size_t draw, StoredMatrix stored) {
    if (draw > 0) move(stored.value, stored.radius, sums_.weights);
    return stored;
  }

  Norm<double> drawn(std::size_t draw, StoredNorm stored) {
    if (draw == 0) return stored.value;
    move(stored.value.gain, stored.radius.gain, sums_.weights);
    move(stored.value.bias, stored.radius.bias, sums_.weights);
    return stored.value;
  }

  Block<double> drawn(const StoredBlock& stored) {
    Block<double> block = stored.value;
    Norm<double>* const norms[] = {&block.attention_input, &block.attention_output, &block.mlp_input,
                                   &block.mlp_output};
    const Norm<double>* const norm_radii[] = {&stored.radius.attention_input, &stored.radius.attention_output,
                                              &stored.radius.mlp_input, &stored.radius.mlp_output};
    for (std::size_t i = 0; i < std::size(norms); ++i) {
      move(norms[i]->gain, norm_radii[i]->gain, sums_.weights);
      move(norms[i]->bias, norm_radii[i]->bias, sums_.weights);
    }
    const auto for_each = [](auto& weights, auto visit) { for_each_slot(weights, visit); };
    move_all(block.attention, stored.radius.attention, for_each, sums_.attention);
    Mlp<double>& mlp = block.mlp;
    const Mlp<double>& radius = stored.radius.mlp;
    move(mlp.gate, radius.gate, sums_.weights);
    move(mlp.up, radius.up, sums_.weights);
    move(mlp.down, radius.down, sums_.weights);
    move(mlp.gate_bias, radius.gate_bias, sums_.read_biases);
    move(mlp.up_bias, radius.up_bias, sums_.read_biases);
    move(mlp.down_bias, radius.down_bias, sums_.weights);
    return block;
  }

  // All slots of some weights, each with the allowance that its own unit asks for.
  template <class Weights, class ForEachSlot>
  void move_all(Weights& weights, const Weights& radius, ForEachSlot for_each, Index inner_width) {
    std::vector<double> sizes;
    for_each(weights, [&](const auto& slot) { sizes.push_back(safe_norm(slot)); });
    std::vector<std::pair<const double*, double>> errors;
    for_each(radius, [&](const auto& slot) {
      errors.emplace_back(slot.data(), allowance(sizes[errors.size()], safe_norm(slot), inner_width));
    });
    std::size_t next = 0;
    for_each(weights, [&](auto& slot) {
      const std::pair<const double*, double>& error = errors[next++];
      move_within_radius(slot, error.first, random_, error.second);
    });
  }

  // The few rows that tokens need, as a small model whose tokens are 0, 1, ...
  void enter(std::size_t draw) {
    for (const Tokens& tokens : sequences_) {
      TransformerConfig config = model_.config();
      config.vocabulary = static_cast<Index>(tokens.size());
      const auto first = static_cast<Index>(config.class_token);
      TransformerWeights<double> weights;
      weights.embedding.resize(config.vocabulary, config.model_width);
      Tokens renamed;
      for (Index n = 0; n < config.vocabulary; ++n) {
        const Index token = tokens[static_cast<std::size_t>(n)];
        if (token < model_.config().vocabulary) {
          weights.embedding.row(n) = drawn(draw, model_.rows(Table::Embedding, token, 1)).value;
        } else {
          weights.embedding.row(n).setZero();
        }
        renamed.push_back(n);
      }
      if (config.positions > 0) {
        config.positions = config.position_offset + first + config.vocabulary;
        if (config.learns_positions())
          weights.positions = drawn(draw, model_.rows(Table::Positions, 0, config.positions)).value;
        else
          config.fixed_positions.resize(static_cast<std::size_t>(config.positions * config.model_width));
      }
      if (config.token_types > 0)
        weights.token_types = drawn(draw, model_.rows(Table::TokenTypes, 0, 1 + first)).value;
      weights.embedding_norm = drawn(draw, model_.norm(NormPlace::Embedding, 0));
      streams_[draw].push_back(embed(config, weights, renamed));
    }
  }

  void pass(Index layer) {
    const StoredBlock stored = read_block(model_, layer);
    for (std::size_t draw = 0; draw < streams_.size(); ++draw) {
      const Block<double> block = draw > 0 ? drawn(stored) : stored.value;
      for (Matrix<double>& stream : streams_[draw]) stream = run_block(model_.config(), block, layer, stream);
      if (draw == 0) hash_stored_streams();
    }
  }

  // The head's outputs, then those of tasks.
  void read() {
    draw_heads();
    TransformerConfig config = model_.config();
    const Index width = config.head_width();
    for (std::size_t draw = 0; draw < streams_.size(); ++draw) {
      for (const Matrix<double>& stream : streams_[draw])
        outputs_[draw].emplace_back(stream.rows(), config.output_width());
    }
    if (!config.tasks.empty()) {
      config.head = Head::Tasks;
      for (std::size_t draw = 0; draw < streams_.size(); ++draw)
        read_out_at(config, draw, width, config.output_width());
      config.tasks.clear();
      config.head = model_.config().head;
    }
    if (config.head == Head::None) {
      for (std::size_t draw = 0; draw < streams_.size(); ++draw) read_out_at(config, draw, 0, width);
    } else if (width > 0) {
      read_logits(config);
    }
  }

  void read_out_at(const TransformerConfig& config, std::size_t draw, Index first, Index count) {
    for (std::size_t s = 0; s < streams_[draw].size(); ++s)
      outputs_[draw][s].middleCols(first, count) = read_out(config, heads_[draw], streams_[draw][s]);
  }

  // The table in pieces, each read once for all draws. Noise of a piece depends on what it puts out as
  // stored.
  void read_logits(TransformerConfig config) {
    constexpr Index chunk = 4096;
    const Index vocabulary = config.vocabulary;
    std::vector<RowVector<double>> biases;
    for (const TransformerWeights<double>& head : heads_) biases.push_back(head.head_bias);
    config.head = Head::Own;
    for (Index first = 0; first < vocabulary; first += chunk) {
      config.vocabulary = std::min(chunk, vocabulary - first);
      const StoredMatrix stored = model_.rows(Table::Unembedding, first, config.vocabulary);
      const double allowance = allowance_of(stored.value, stored.radius, sums_.weights);
      for (std::size_t draw = 0; draw < heads_.size(); ++draw) {
        TransformerWeights<double>& head = heads_[draw];
        head.unembedding = stored.value;
        if (draw > 0) move_within_radius(head.unembedding, stored.radius.data(), random_, allowance);
        if (config.head_bias) head.head_bias = biases[draw].segment(first, config.vocabulary);
        read_out_at(config, draw, first, config.vocabulary);
        head.unembedding.resize(0, 0);
        if (draw == 0) hash_stored_outputs(first, config.vocabulary);
      }
    }
    if (search_.outputs == Outputs::Probabilities) take_logarithms(vocabulary);
  }

  void hash_stored_outputs(Index first, Index count) {
    Hasher hasher;
    for (const Matrix<double>& output : outputs_[0]) hasher.add_all(output.middleCols(first, count));
    reseed(hasher);
  }

  void take_logarithms(Index vocabulary) {
    for (std::vector<Matrix<double>>& of_draw : outputs_) {
      for (Matrix<double>& output : of_draw)
        output.leftCols(vocabulary) = log_probabilities(Matrix<double>(output.leftCols(vocabulary)));
    }
  }

  // What reads outputs from the stream, but for the table of logits.
  void draw_heads() {
    const TransformerConfig& config = model_.config();
    TransformerWeights<double> stored;
    TransformerWeights<double> radius;
    const auto take = [](auto& value, auto& error, auto part) {
      value = std::move(part.value);
      error = std::move(part.radius);
    };
    take(stored.final_norm, radius.final_norm, model_.norm(NormPlace::Final, 0));
    if (config.head_transform.width > 0)
      take(stored.head_transform, radius.head_transform, model_.head_transform());
    if (config.head_bias) take(stored.head_bias, radius.head_bias, model_.head_bias());
    stored.tasks.resize(config.tasks.size());
    radius.tasks.resize(config.tasks.size());
    for (std::size_t i = 0; i < config.tasks.size(); ++i)
      take(stored.tasks[i], radius.tasks[i], model_.task(i));
    Hasher hasher;
    hasher.add_one(random_.bits());
    for_each_head_slot(stored, [&](const auto& slot) { hasher.add_all(slot); });
    reseed(hasher);
    heads_.assign(streams_.size(), stored);
    const auto for_each = [](auto& head, auto visit) { for_each_head_slot(head, visit); };
    for (std::size_t draw = 1; draw < heads_.size(); ++draw)
      move_all(heads_[draw], radius, for_each, sums_.weights);
  }

  template <class Weights, class Visit>
  static void for_each_head_slot(Weights& weights, Visit visit) {
    visit(weights.final_norm.gain);
    visit(weights.final_norm.bias);
    for_each_transform_slot(weights.head_transform, visit);
    visit(weights.head_bias);
    for (auto& task : weights.tasks) for_each_task_slot(task, visit);
  }

  const StoredModel& model_;
  const std::vector<Tokens>& sequences_;
  const TokenSearch& search_;
  ArithmeticSums sums_;
  Random random_{0};
  std::vector<std::vector<Matrix<double>>> streams_;  // by draw, then by sequence; draw 0 is as stored
  std::vector<TransformerWeights<double>> heads_;     // by draw
  std::vector<std::vector<Matrix<double>>> outputs_;  // as streams_
};

// Random tokens, and the wanted ones in the middle of sequences of their own. Images have as many patches as
// the model has positions.
std::vector<Tokens> sequences_of(const TransformerConfig& config, const TokenSearch& search) {
  const Index most = config.positions > 0
                         ? config.positions - config.position_offset - Index{config.class_token}
                         : Index{1} << 20;
  const Index length =
      config.class_token ? most : std::min(most, std::max(search.length, search.position + 1));
  Random random(search.seed);
  const auto any = [&] {
    const Index token = random.below(std::min<Index>(config.token_ids(), 1 << 30));
    return token == config.padding ? (token + 1) % config.token_ids() : token;
  };
  std::vector<Tokens> sequences;
  const auto add = [&](Index wanted) {
    Tokens tokens;
    for (Index n = 0; n < length; ++n) tokens.push_back(any());
    if (wanted >= 0) tokens[static_cast<std::size_t>(length / 2)] = wanted;
    sequences.push_back(std::move(tokens));
  };
  for (Index i = 0; i < search.sequences; ++i) add(-1);
  for (const Index token : search.tokens) add(token == config.padding ? -1 : token);
  return sequences;
}

double largest_change(const std::vector<std::vector<Matrix<double>>>& outputs, std::size_t sequence) {
  double largest = 0;
  for (std::size_t draw = 1; draw < outputs.size(); ++draw) {
    const double change = (outputs[draw][sequence] - outputs[0][sequence]).cwiseAbs().maxCoeff();
    if (!(change <= largest)) largest = change;  // NaN stays
  }
  return largest;
}

}  // namespace

double TokenWitness::strength() const {
  if (!std::isfinite(gap) || gap == 0) return 0;
  return gap / noise;
}

void require_same_outputs(const StoredModel& a, const StoredModel& b, Outputs outputs) {
  if (a.config().vocabulary != b.config().vocabulary ||
      a.config().output_width() != b.config().output_width()) {
    throw ShapeError("models of " + std::to_string(a.config().vocabulary) + " and " +
                     std::to_string(b.config().vocabulary) + " tokens with " +
                     std::to_string(a.config().output_width()) + " and " +
                     std::to_string(b.config().output_width()) + " outputs cannot be compared");
  }
  const TransformerConfig& of_a = a.config();
  const TransformerConfig& of_b = b.config();
  if (outputs == Outputs::Probabilities && row_count(of_a, Table::Unembedding) == 0)
    throw ShapeError("a model without a head of logits has no probabilities");
  if ((of_a.class_token || of_b.class_token) && of_a.positions != of_b.positions)
    throw ShapeError("models of images of other sizes, with " + std::to_string(of_a.positions) + " and " +
                     std::to_string(of_b.positions) + " positions, cannot be compared");
}

namespace {

void require_tokens(const TransformerConfig& config, const Tokens& tokens) {
  const auto count = static_cast<Index>(tokens.size());
  if (count == 0) throw ShapeError("there are no tokens");
  const Index used = count + config.position_offset + Index{config.class_token};
  if (config.positions > 0 && used > config.positions)
    throw ShapeError(std::to_string(count) + " tokens are more than the model has positions");
  if (config.class_token && used < config.positions)
    throw ShapeError(std::to_string(count) + " patches are fewer than the model has positions");
  for (const Index token : tokens) {
    if (token < 0 || token >= config.token_ids())
      throw ShapeError("there is no token " + std::to_string(token) + " of " +
                       std::to_string(config.token_ids()));
    if (token == config.padding)
      throw ShapeError("token " + std::to_string(token) + " is padding, which is no input");
  }
}

TokenWitness strongest(const StoredModel& a, const StoredModel& b, const std::vector<Tokens>& sequences,
                       const TokenSearch& search) {
  std::vector<std::vector<Matrix<double>>> outputs_a;
  std::vector<std::vector<Matrix<double>>> outputs_b;
  search.run_tasks(2, [&](std::size_t model) {
    (model == 0 ? outputs_a : outputs_b) = Runs(model == 0 ? a : b, sequences, search).outputs();
  });
  TokenWitness best;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    TokenWitness witness{.tokens = sequences[s]};
    const Matrix<double> apart = (outputs_a[0][s] - outputs_b[0][s]).cwiseAbs();
    witness.gap = apart.maxCoeff(&witness.position, &witness.output);
    witness.output_a = outputs_a[0][s](witness.position, witness.output);
    witness.output_b = outputs_b[0][s](witness.position, witness.output);
    witness.noise = largest_change(outputs_a, s) + largest_change(outputs_b, s);
    if (s == 0 || witness.strength() > best.strength()) best = std::move(witness);
  }
  return best;
}

}  // namespace

TokenWitness measure_tokens(const StoredModel& a, const StoredModel& b, const Tokens& tokens, Outputs outputs,
                            std::uint64_t seed, const RunTasks& run_tasks) {
  require_same_outputs(a, b, outputs);
  require_tokens(a.config(), tokens);
  require_tokens(b.config(), tokens);
  return strongest(a, b, {tokens}, {.seed = seed, .tokens = {}, .outputs = outputs, .run_tasks = run_tasks});
}

std::vector<Tokens> token_sequences(const StoredModel& a, const StoredModel& b, const TokenSearch& search) {
  const TransformerConfig& shorter =
      b.config().positions > 0 && (a.config().positions == 0 || b.config().positions < a.config().positions)
          ? b.config()
          : a.config();
  return sequences_of(shorter, search);
}

TokenWitness search_tokens(const StoredModel& a, const StoredModel& b, const TokenSearch& search) {
  require_same_outputs(a, b, search.outputs);
  return strongest(a, b, token_sequences(a, b, search), search);
}

}  // namespace attnsym
