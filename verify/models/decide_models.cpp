#include "verify/models/decide_models.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "symmetry/errors.hpp"
#include "verify/checker/model_identity.hpp"
#include "verify/models/architecture.hpp"
#include "verify/models/find_neurons.hpp"
#include "verify/models/refine_stream.hpp"
#include "verify/models/stored_algebra.hpp"

namespace attnsym {
namespace {

constexpr Index few_rows = 256;  // of tables

StoredMatrix stacked(const StoredMatrix& a, const StoredMatrix& b) {
  StoredMatrix result{Matrix<double>(a.value.rows() + b.value.rows(), a.value.cols()), {}};
  result.radius.resizeLike(result.value);
  result.value << a.value, b.value;
  result.radius << a.radius, b.radius;
  return result;
}

// The sum over the heads of a module of V O, or of K Q^T, times rows.
StoredMatrix passed_by_heads(const StoredAttention& module, const StoredMatrix& rows, bool values) {
  StoredMatrix passed;
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    const KvGroup<double>& value = module.weights.groups[j];
    const KvGroup<double>& radius = module.radius.groups[j];
    const StoredMatrix seen =
        values ? product(rows, {value.value, radius.value}) : product(rows, {value.key, radius.key});
    for (std::size_t i = 0; i < value.readers.size(); ++i) {
      const QueryHead<double>& reader = value.readers[i];
      const QueryHead<double>& error = radius.readers[i];
      passed = sum(passed, values ? product(seen, {reader.output, error.output})
                                  : product(seen, {reader.query.transpose(), error.query.transpose()}));
    }
  }
  return passed;
}

// Where tables have too few rows to span the stream: these rows times the sum of all V O of a block, and of
// all K Q^T, which change their basis with the stream whatever else moves [N12].
StoredMatrix with_more_rows(const SeenModel& model, StoredMatrix rows) {
  const Index width = model.config().model_width;
  for (Index layer = 0; rows.value.rows() < 2 * width && layer < model.config().blocks(); ++layer) {
    const StoredAttention module = model.attention(layer);
    const StoredMatrix before = rows;
    rows = stacked(rows, passed_by_heads(module, before, true));
    if (module.config.qk_norm) continue;  // then Q K^T is not what scores are made of
    rows = stacked(rows, scaled(passed_by_heads(module, before, false), module.config.scale));
  }
  return rows;
}

// Few rows tell the identity and permutations; all others need more rows than the stream is wide.
std::optional<StreamTransport> find_stream(const SeenModel& a, const SeenModel& b) {
  const bool centred = a.is_centred() && a.has_centred_embeddings();
  const auto find = [&](Index rows, bool only_simple) {
    StoredMatrix of_a = sampled_rows(a, rows);
    StoredMatrix of_b = sampled_rows(b, rows);
    const Index stored = of_a.value.rows();
    if (!only_simple) {
      of_a = with_more_rows(a, std::move(of_a));
      of_b = with_more_rows(b, std::move(of_b));
    }
    const bool keeps_mean = a.config().norm == NormKind::Layer;
    return find_stream_transport(of_a, of_b, stored, {only_simple, centred, keeps_mean});
  };
  if (auto simple = find(few_rows, true)) return simple;
  if (a.is_rigid()) return std::nullopt;
  return find(std::max<Index>(1024, 4 * a.config().model_width), false);
}

// Whether most rows of tables have other lengths, which no change of basis of the stream gives them.
bool are_unlike(const SeenModel& a, const SeenModel& b) {
  const StoredMatrix of_a = sampled_rows(a, few_rows);
  const StoredMatrix of_b = sampled_rows(b, few_rows);
  if (of_a.value.rows() != of_b.value.rows()) return false;
  const auto error = [](const StoredMatrix& rows, Index i, double length) {
    return rows.value.row(i).cwiseProduct(rows.radius.row(i)).norm() / length;
  };
  Index others = 0;
  for (Index i = 0; i < of_a.value.rows(); ++i) {
    const double length_a = of_a.value.row(i).stableNorm();
    const double length_b = of_b.value.row(i).stableNorm();
    if (!(length_a > 0) || !(length_b > 0)) continue;
    constexpr double clearly = 8;
    const double room = clearly * (error(of_a, i, length_a) + error(of_b, i, length_b));
    others += std::abs(length_a - length_b) > room + 1e-9 * length_a ? 1 : 0;
  }
  return 2 * others > of_a.value.rows();
}

// In reading order.
std::optional<std::string> first_difference(const ModelDecision& decision) {
  const auto differs = [](const OuterComparison& outer) { return !outer.entries.agrees(); };
  for (const OuterComparison& outer : decision.outer) {
    if (differs(outer) && !outer.reads_stream) return outer.part;
  }
  for (std::size_t layer = 0; layer < decision.blocks.size(); ++layer) {
    const std::string difference = decision.blocks[layer].difference();
    if (!difference.empty()) return "block " + std::to_string(layer) + ": " + difference;
  }
  for (const OuterComparison& outer : decision.outer) {
    if (differs(outer)) return outer.part;
  }
  return std::nullopt;
}

// Tokens and positions that show best what differs have to occur. Where outputs are the stream, rows of what
// stands for an unembedding are its coordinates.
TokenSearch token_search(const TransformerConfig& config, const ModelDecision& decision,
                         const ModelDecideOptions& options) {
  TokenSearch search{.seed = options.seed, .tokens = {}, .outputs = options.outputs};
  for (const OuterComparison& outer : decision.outer) {
    if (outer.entries.agrees()) continue;
    if (outer.part == "embeddings" || (outer.part == "unembedding" && config.head != Head::None))
      search.tokens.push_back(outer.entries.row);
    if (outer.part == "positions") search.position = std::min<Index>(outer.entries.row, 512);
  }
  return search;
}

bool is_exact(const ModelDecision& decision) {
  return std::ranges::all_of(decision.outer, [](const OuterComparison& o) { return o.entries.is_exact; }) &&
         std::ranges::all_of(decision.blocks, [](const BlockDecision& b) { return b.is_exact(); });
}

// Which parts need not be looked at under a stream that stays as it is.
struct Alike {
  bool outside = false;
  std::vector<char> blocks;  // not vector<bool>: threads write neighbouring entries

  bool all() const { return outside && std::ranges::count(blocks, 1) == std::ssize(blocks); }

  // Pieces have what neighbours store: a norm behind one block stands in front of the next, and its bias is
  // where the next one writes; the first block meets the norm of embeddings, the head that of the last block.
  Alike with_neighbours() const {
    Alike result{outside, blocks};
    for (std::size_t layer = 0; layer < blocks.size(); ++layer) {
      const bool before = layer == 0 ? outside : blocks[layer - 1] != 0;
      const bool behind = layer + 1 == blocks.size() ? outside : blocks[layer + 1] != 0;
      result.blocks[layer] = blocks[layer] != 0 && before && behind ? 1 : 0;
    }
    result.outside = outside && (blocks.empty() || (blocks.front() != 0 && blocks.back() != 0));
    return result;
  }
};

Alike find_alike(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options) {
  Alike alike{false, std::vector<char>(static_cast<std::size_t>(a.config().blocks()), 0)};
  if (!(a.config() == b.config())) return alike;
  options.run_parts(alike.blocks.size() + 1, [&](std::size_t part) {
    if (part == 0) {
      alike.outside = options.alike.outside && options.alike.outside();
    } else {
      alike.blocks[part - 1] =
          options.alike.block && options.alike.block(static_cast<Index>(part - 1)) ? 1 : 0;
    }
  });
  return alike;
}

BlockDecision same_block(const TransformerConfig& config, std::size_t layer) {
  BlockDecision block;
  block.attention = decide_same(config.attention[layer]);
  block.mlp.image.resize(static_cast<std::size_t>(config.mlp.width));
  std::iota(block.mlp.image.begin(), block.mlp.image.end(), Index{0});
  return block;
}

void compare_parts(const ModelPieces& pieces, const TransformerConfig& config,
                   const ModelDecideOptions& options, const Alike& alike, ModelDecision& decision) {
  if (!alike.outside) decision.outer = pieces.compare_outside(options.run_parts);
  options.run_parts(decision.blocks.size(), [&](std::size_t part) {
    if (alike.blocks[part] != 0) return;
    const auto layer = static_cast<Index>(part);
    BlockDecision& block = decision.blocks[part];
    block.norms = pieces.compare_norms(layer);
    block.mlp = compare_mlps(config.mlp, pieces.mlp_of_a(layer), pieces.mlp_of_b(layer), config.model_width,
                             pieces.mlp_rules(layer));
  });
}

void compare_attention(const ModelPieces& pieces, const ModelDecideOptions& options, const Alike& alike,
                       ModelDecision& decision) {
  DecideOptions decide;
  decide.search_witness = false;
  decide.run_tasks = options.run_in_module;
  options.run_modules(decision.blocks.size(), [&](std::size_t block) {
    if (alike.blocks[block] != 0) return;
    const auto layer = static_cast<Index>(block);
    std::array<StoredAttention, 2> modules;
    options.run_in_module(2, [&](std::size_t i) {
      modules[i] = i == 0 ? pieces.attention_of_a(layer) : pieces.attention_of_b(layer);
    });
    decision.blocks[block].attention =
        decide_equivalence(std::move(modules[0]), std::move(modules[1]), decide);
  });
}

// @param found  what is alike, if the stream stays as it is
void compare_all(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options,
                 const Alike& found, ModelDecision& decision) {
  const ModelPieces pieces(a, b, decision.stream, options.outputs);
  decision.blocks.assign(static_cast<std::size_t>(a.config().blocks()), {});
  const bool stays = decision.stream.kind() == StreamTransport::Kind::Identity;
  const Alike alike = stays ? found : Alike{false, std::vector<char>(decision.blocks.size(), 0)};
  for (std::size_t layer = 0; layer < decision.blocks.size(); ++layer) {
    if (alike.blocks[layer] != 0) decision.blocks[layer] = same_block(a.config(), layer);
  }
  compare_parts(pieces, a.config(), options, alike, decision);
  compare_attention(pieces, options, alike, decision);
}

bool may_be_refined(const StoredModel& a, const ModelDecision& decision) {
  return first_difference(decision) || refute_stream(a, decision.stream);
}

void compare_orbits(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options,
                    const Alike& alike, bool unlike, ModelDecision& decision) {
  const SeenModel seen_a(a);
  const SeenModel seen_b(b);
  std::optional<StreamTransport> stream;
  if (alike.outside) {
    stream = StreamTransport::identity(a.config().model_width);
  } else if (!unlike) {
    stream = find_stream(seen_a, seen_b);
  }
  decision.stream_found = stream.has_value();
  decision.stream = stream.value_or(StreamTransport::identity(a.config().model_width));
  compare_all(a, b, options, alike, decision);
  // What a better rotation lets agree may make it better still: in small models, where that is cheap and
  // tables have few rows.
  const bool is_small = a.config().vocabulary < 4 * a.config().model_width;
  ModelDecision refined = decision;
  for (int round = 0; round < (is_small ? 3 : 1); ++round) {
    if (refined.stream.kind() != StreamTransport::Kind::Orthogonal || !may_be_refined(a, refined)) return;
    ModelDecision next;
    next.stream_found = true;
    next.stream = refine_stream(seen_a, seen_b, refined);
    compare_all(a, b, options, alike, next);
    refined = std::move(next);
    if (!may_be_refined(a, refined)) decision = refined;
  }
}

}  // namespace

bool BlockDecision::agrees() const { return difference().empty(); }

bool BlockDecision::is_exact() const {
  return std::holds_alternative<Identical>(attention.verdict) && mlp.same_count && mlp.neurons.is_exact &&
         mlp.constant.is_exact && norms.is_exact;
}

double BlockDecision::rounding_ratio() const {
  return std::max({attention.rounding_ratio(), mlp.neurons.ratio, mlp.constant.ratio, norms.ratio});
}

std::string BlockDecision::difference() const {
  const bool same_attention = std::holds_alternative<Identical>(attention.verdict) ||
                              std::holds_alternative<Equivalent>(attention.verdict);
  if (!same_attention) return "attention, " + describe_difference(attention);
  if (!mlp.same_count) return "MLP, different numbers of neurons that do something";
  if (!mlp.neurons.agrees()) return "MLP, neuron " + std::to_string(mlp.worst_neuron) + " of B";
  if (!mlp.constant.agrees()) return "MLP, its bias";
  if (!norms.agrees()) return "norms";
  return {};
}

const char* name_of(ModelVerdict verdict) {
  constexpr const char* names[] = {"identical", "equivalent", "distinct", "undecided"};
  return names[static_cast<int>(verdict)];
}

ModelEvidence evidence_of(const ModelDecision& decision) {
  ModelEvidence evidence;
  evidence.stream = decision.stream.matrix();
  for (const BlockDecision& block : decision.blocks) {
    const auto* identical = std::get_if<Identical>(&block.attention.verdict);
    evidence.attention.push_back(identical != nullptr
                                     ? EqualityEvidence(identical->b_from_a)
                                     : std::get<Equivalent>(block.attention.verdict).evidence);
    evidence.neurons.push_back(block.mlp.image);
  }
  return evidence;
}

namespace {

// @param unlike  whether the tables are: then no stream is sought
ModelDecision compare_pieces(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options,
                             bool unlike) {
  require_same_outputs(a, b, options.outputs);
  ModelDecision decision;
  if (const std::string apart = different_architecture(a.config(), b.config()); !apart.empty()) {
    decision.different_architecture = apart;
    decision.reason = "the architectures differ: " + apart;
    return decision;
  }
  const Alike alike = find_alike(a, b, options);
  if (alike.all()) {
    decision.verdict = ModelVerdict::Identical;
    decision.reason = "every number that is stored is the same, byte by byte";
    decision.stream = StreamTransport::identity(a.config().model_width);
    decision.stream_found = true;
    for (std::size_t layer = 0; layer < alike.blocks.size(); ++layer)
      decision.blocks.push_back(same_block(a.config(), layer));
    return decision;
  }
  compare_orbits(a, b, options, alike.with_neighbours(), unlike, decision);
  decision.first_difference = first_difference(decision);
  if (decision.first_difference) {
    decision.reason = "the first difference is in " + *decision.first_difference;
    return decision;
  }
  // All pieces were compared by the checker; what is left is how the stream may move.
  if (const auto refutation = refute_stream(a, decision.stream)) {
    decision.reason = "every piece of A agrees with B, but " + *refutation;
    return decision;
  }
  const bool identical =
      is_exact(decision) && !refute_model_identity(a, b, evidence_of(decision), options.run_modules);
  decision.verdict = identical ? ModelVerdict::Identical : ModelVerdict::Equivalent;
  decision.reason =
      std::string("every piece of A agrees with B, the stream moved by ") + name_of(decision.stream);
  return decision;
}

// Words for models whose outputs differ on tokens.
std::string describe(const TokenWitness& witness) {
  return "outputs are " + brief(witness.gap) + " apart where rounding explains " + brief(witness.noise);
}

// Asks the checker about tokens that tell models apart by the finder's measure.
void conclude(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options,
              ModelDecision& decision) {
  if (decision.witness->strength() < options.witness_factor) {
    decision.reason += ", but on no tokens that were tried are outputs further apart than rounding explains";
  } else if (const auto refutation =
                 refute_token_witness(a, b, decision.witness->tokens, options.outputs, options.run_parts)) {
    decision.reason += "; tokens were found, but the checker refuses them: " + *refutation;
  } else {
    decision.verdict = ModelVerdict::Distinct;
    decision.reason = describe(*decision.witness) + "; " + decision.reason;
  }
}

// The commonest question of all: two models that have nothing to do with each other. Pieces of theirs agree
// in nothing, and comparing them would take a hundred times as long as running both on some tokens.
std::optional<ModelDecision> told_apart_at_once(const StoredModel& a, const StoredModel& b,
                                                const ModelDecideOptions& options) {
  require_same_outputs(a, b, options.outputs);
  ModelDecision decision;
  if (const std::string apart = different_architecture(a.config(), b.config()); !apart.empty()) {
    decision.different_architecture = apart;
    decision.reason = "the architectures differ: " + apart;
  } else if (have_unlike_tables(a, b)) {
    decision.reason = "most rows of their tables have other lengths";
  } else {
    return std::nullopt;
  }
  const TokenSearch search{.seed = options.seed, .sequences = 1, .tokens = {}, .outputs = options.outputs};
  // Tokens that nobody has chosen: the checker's measure is all that is needed.
  decision.witness =
      checked_tokens(a, b, token_sequences(a, b, search).front(), options.outputs, options.run_parts);
  if (decision.witness->strength() < options.witness_factor) return std::nullopt;
  decision.verdict = ModelVerdict::Distinct;
  decision.reason = describe(*decision.witness) + "; " + decision.reason;
  return decision;
}

}  // namespace

ModelDecision compare_models(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options) {
  return compare_pieces(a, b, options, false);
}

bool have_unlike_tables(const StoredModel& a, const StoredModel& b) {
  return different_architecture(a.config(), b.config()).empty() && are_unlike(SeenModel(a), SeenModel(b));
}

ModelDecision decide_models(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options) {
  const std::optional<ModelDecision> at_once = told_apart_at_once(a, b, options);
  if (at_once && !options.compare_unlike) return *at_once;
  ModelDecision decision = compare_pieces(a, b, options, at_once.has_value());
  if (at_once) {  // what they have in common, and the tokens that are known
    decision.verdict = at_once->verdict;
    decision.witness = at_once->witness;
    decision.reason = describe(*decision.witness) + "; " + decision.reason;
    return decision;
  }
  if (decision.verdict != ModelVerdict::Undecided) return decision;
  TokenSearch search = token_search(a.config(), decision, options);
  search.run_tasks = options.run_parts;
  decision.witness = search_tokens(a, b, search);
  conclude(a, b, options, decision);
  return decision;
}

}  // namespace attnsym
