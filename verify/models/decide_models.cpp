#include "verify/models/decide_models.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "symmetry/errors.hpp"
#include "verify/checker/model_identity.hpp"
#include "verify/models/architecture.hpp"
#include "verify/models/find_neurons.hpp"
#include "verify/models/stored_algebra.hpp"

namespace attnsym {
namespace {

// Evenly spaced rows of all tables, as many as are asked for or there are.
StoredMatrix sampled_rows(const SeenModel& model, Index wanted) {
  std::vector<StoredMatrix> rows;
  Index total = 0;
  for (const Table table : {Table::Embedding, Table::Unembedding, Table::Positions}) {
    if (table == Table::Unembedding && !model.has_unembedding_in_stream()) continue;
    const Index count = model.row_count(table);
    constexpr Index run = 16;  // rows are read in runs, not one by one
    const Index step = std::max(run, count * run / std::max<Index>(wanted, 1));
    for (Index first = 0; first < count; first += step) {
      rows.push_back(model.rows(table, first, std::min(run, count - first)));
      total += rows.back().value.rows();
    }
  }
  const Index width = model.config().model_width;
  StoredMatrix all{Matrix<double>(total, width), Matrix<double>(total, width)};
  Index at = 0;
  for (const StoredMatrix& part : rows) {
    all.value.middleRows(at, part.value.rows()) = part.value;
    all.radius.middleRows(at, part.value.rows()) = part.radius;
    at += part.value.rows();
  }
  return all;
}

StoredMatrix stacked(const StoredMatrix& a, const StoredMatrix& b) {
  StoredMatrix result{Matrix<double>(a.value.rows() + b.value.rows(), a.value.cols()), {}};
  result.radius.resizeLike(result.value);
  result.value << a.value, b.value;
  result.radius << a.radius, b.radius;
  return result;
}

// Where tables have too few rows to span the stream: these rows times the sum of all V O of a block, which
// change their basis with the stream whatever else moves [N12].
StoredMatrix with_more_rows(const SeenModel& model, StoredMatrix rows) {
  const Index width = model.config().model_width;
  for (Index layer = 0; rows.value.rows() < 2 * width && layer < model.config().blocks(); ++layer) {
    const StoredAttention module = model.attention(layer);
    StoredMatrix passed;
    for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
      const KvGroup<double>& value = module.weights.groups[j];
      const KvGroup<double>& radius = module.radius.groups[j];
      const StoredMatrix values = product(rows, {value.value, radius.value});
      for (std::size_t i = 0; i < value.readers.size(); ++i)
        passed = sum(passed, product(values, {value.readers[i].output, radius.readers[i].output}));
    }
    rows = stacked(rows, passed);
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
  constexpr Index few = 256;
  if (auto simple = find(few, true)) return simple;
  if (a.is_rigid()) return std::nullopt;
  return find(std::max<Index>(1024, 4 * a.config().model_width), false);
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

// Tokens and positions that show best what differs have to occur.
TokenSearch token_search(const ModelDecision& decision, const ModelDecideOptions& options) {
  TokenSearch search{.seed = options.seed, .tokens = {}, .outputs = options.outputs};
  for (const OuterComparison& outer : decision.outer) {
    if (outer.entries.agrees()) continue;
    if (outer.part == "embeddings" || outer.part == "unembedding") search.tokens.push_back(outer.entries.row);
    if (outer.part == "positions") search.position = std::min<Index>(outer.entries.row, 512);
  }
  return search;
}

bool is_exact(const ModelDecision& decision) {
  return std::ranges::all_of(decision.outer, [](const OuterComparison& o) { return o.entries.is_exact; }) &&
         std::ranges::all_of(decision.blocks, [](const BlockDecision& b) { return b.is_exact(); });
}

void compare_parts(const ModelPieces& pieces, const TransformerConfig& config,
                   const ModelDecideOptions& options, ModelDecision& decision) {
  options.run_parts(decision.blocks.size() + 1, [&](std::size_t part) {
    if (part == 0) {
      decision.outer = pieces.compare_outside();
      return;
    }
    const auto layer = static_cast<Index>(part - 1);
    BlockDecision& block = decision.blocks[part - 1];
    block.norms = pieces.compare_norms(layer);
    block.mlp = compare_mlps(config.mlp, pieces.mlp_of_a(layer), pieces.mlp_of_b(layer), config.model_width,
                             pieces.mlp_rules(layer));
  });
}

void compare_attention(const ModelPieces& pieces, const ModelDecideOptions& options,
                       ModelDecision& decision) {
  DecideOptions decide;
  decide.search_witness = false;
  decide.run_tasks = options.run_in_module;
  options.run_modules(decision.blocks.size(), [&](std::size_t block) {
    const auto layer = static_cast<Index>(block);
    std::array<StoredAttention, 2> modules;
    options.run_in_module(2, [&](std::size_t i) {
      modules[i] = i == 0 ? pieces.attention_of_a(layer) : pieces.attention_of_b(layer);
    });
    decision.blocks[block].attention =
        decide_equivalence(std::move(modules[0]), std::move(modules[1]), decide);
  });
}

// Adds rows, each of length 1: scales of neurons do not count, and their signs are those that agree.
void add_rows(const Matrix<double>& a, const Matrix<double>& b, const Matrix<double>& q, Matrix<double>& from,
              Matrix<double>& to) {
  const Index first = from.rows();
  from.conservativeResize(first + a.rows(), q.rows());
  to.conservativeResize(first + a.rows(), q.rows());
  for (Index k = 0; k < a.rows(); ++k) {
    const double size_a = a.row(k).norm();
    const double size_b = b.row(k).norm();
    const double sign = (a.row(k) * q).dot(b.row(k)) < 0 ? -1 : 1;
    from.row(first + k) = size_a > 0 ? (a.row(k) / size_a).eval() : a.row(k).eval();
    to.row(first + k) = size_b > 0 ? (sign * b.row(k) / size_b).eval() : b.row(k).eval();
  }
}

// A rotation that was found from few rows of coarse numbers is not exact enough for the rest. Neurons that
// were matched by it tell more: what they read and what they write turns with the stream.
std::optional<StreamTransport> from_neurons(const SeenModel& a, const SeenModel& b,
                                            const ModelDecision& decision) {
  Matrix<double> q = decision.stream.matrix();
  const Index width = q.rows();
  const Index wanted = 16 * width;
  Matrix<double> from(0, width);
  Matrix<double> to(0, width);
  for (std::size_t layer = 0; layer < decision.blocks.size() && from.rows() < wanted; ++layer) {
    std::vector<Index> of_a;
    std::vector<Index> of_b;
    const std::vector<Index>& image = decision.blocks[layer].mlp.image;
    for (std::size_t k = 0; k < image.size() && std::ssize(of_a) < wanted; ++k) {
      if (image[k] < 0) continue;
      of_a.push_back(static_cast<Index>(k));
      of_b.push_back(image[k]);
    }
    const auto index = static_cast<Index>(layer);
    const StoredNeurons neurons_a = a.neurons(index)->read(of_a);
    const StoredNeurons neurons_b = b.neurons(index)->read(of_b);
    for (StoredMatrix StoredNeurons::*part :
         {&StoredNeurons::gate, &StoredNeurons::up, &StoredNeurons::down}) {
      const Matrix<double>& x = (neurons_a.*part).value;
      const Matrix<double>& y = (neurons_b.*part).value;
      if (x.size() > 0) add_rows(x.topRows(width).transpose(), y.topRows(width).transpose(), q, from, to);
    }
  }
  if (from.rows() < 2 * width || !from.allFinite() || !to.allFinite()) return std::nullopt;
  for (int step = 0; step < 3; ++step) q = refined_transport(from, to, q);
  return StreamTransport::orthogonal(std::move(q));
}

void compare_all(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options,
                 ModelDecision& decision) {
  const ModelPieces pieces(a, b, decision.stream, options.outputs);
  decision.blocks.assign(static_cast<std::size_t>(a.config().blocks()), {});
  compare_parts(pieces, a.config(), options, decision);
  compare_attention(pieces, options, decision);
}

void compare_orbits(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options,
                    ModelDecision& decision) {
  const SeenModel seen_a(a);
  const SeenModel seen_b(b);
  const auto stream = find_stream(seen_a, seen_b);
  decision.stream_found = stream.has_value();
  decision.stream = stream.value_or(StreamTransport::identity(a.config().model_width));
  compare_all(a, b, options, decision);
  if (decision.stream.kind() != StreamTransport::Kind::Orthogonal || !first_difference(decision)) return;
  const auto better = from_neurons(seen_a, seen_b, decision);
  if (!better) return;
  ModelDecision again;
  again.stream_found = true;
  again.stream = *better;
  compare_all(a, b, options, again);
  if (!first_difference(again)) decision = std::move(again);
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

ModelDecision compare_models(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options) {
  require_same_outputs(a, b, options.outputs);
  ModelDecision decision;
  if (const std::string apart = different_architecture(a.config(), b.config()); !apart.empty()) {
    decision.different_architecture = apart;
    decision.reason = "the architectures differ: " + apart;
    return decision;
  }
  compare_orbits(a, b, options, decision);
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

ModelDecision decide_models(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options) {
  ModelDecision decision = compare_models(a, b, options);
  if (decision.verdict != ModelVerdict::Undecided) return decision;
  decision.witness = search_tokens(a, b, token_search(decision, options));
  const bool separated = decision.witness->strength() >= options.witness_factor;
  const auto refutation =
      separated ? refute_token_witness(a, b, decision.witness->tokens, options.outputs) : std::nullopt;
  if (refutation) {
    decision.reason += "; tokens were found, but the checker refuses them: " + *refutation;
  } else if (separated) {
    decision.verdict = ModelVerdict::Distinct;
    decision.reason = "outputs are " + brief(decision.witness->gap) + " apart where rounding explains " +
                      brief(decision.witness->noise) + "; " + decision.reason;
  } else {
    decision.reason += ", but on no tokens that were tried are outputs further apart than rounding explains";
  }
  return decision;
}

}  // namespace attnsym
