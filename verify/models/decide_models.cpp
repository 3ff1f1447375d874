#include "verify/models/decide_models.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "symmetry/errors.hpp"
#include "verify/models/architecture.hpp"
#include "verify/models/stored_algebra.hpp"

namespace attnsym {
namespace {

// Evenly spaced rows of all tables, as many as are asked for or there are.
StoredMatrix sampled_rows(const SeenModel& model, Index wanted) {
  std::vector<StoredMatrix> rows;
  Index total = 0;
  for (const Table table : {Table::Embedding, Table::Unembedding, Table::Positions}) {
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
  constexpr Index few = 256;
  if (auto simple = find_stream_transport(sampled_rows(a, few), sampled_rows(b, few), true, centred))
    return simple;
  if (a.is_rigid()) return std::nullopt;
  const Index many = std::max<Index>(1024, 4 * a.config().model_width);
  return find_stream_transport(with_more_rows(a, sampled_rows(a, many)),
                               with_more_rows(b, sampled_rows(b, many)), false, centred);
}

// Notes the first piece that differs, and tokens and positions that show it best.
void note_first_difference(ModelDecision& decision, TokenSearch& search) {
  const auto note = [&](const std::string& text) {
    if (!decision.first_difference) decision.first_difference = text;
  };
  std::vector<const OuterComparison*> heads;
  for (const OuterComparison& outer : decision.outer) {
    if (outer.entries.agrees()) continue;
    if (outer.part == "embeddings" || outer.part == "unembedding") search.tokens.push_back(outer.entries.row);
    if (outer.part == "positions") search.position = std::min<Index>(outer.entries.row, 512);
    const bool is_head = outer.part == "unembedding" || outer.part == "bias of the outputs";
    is_head ? heads.push_back(&outer) : note(outer.part);
  }
  for (std::size_t layer = 0; layer < decision.blocks.size(); ++layer) {
    const std::string difference = decision.blocks[layer].difference();
    if (!difference.empty()) note("block " + std::to_string(layer) + ": " + difference);
  }
  for (const OuterComparison* head : heads) note(head->part);
}

bool is_exact(const ModelDecision& decision) {
  return std::ranges::all_of(decision.outer, [](const OuterComparison& o) { return o.entries.is_exact; }) &&
         std::ranges::all_of(decision.blocks, [](const BlockDecision& b) { return b.is_exact(); });
}

void compare_orbits(const StoredModel& model_a, const StoredModel& model_b, const ModelDecideOptions& options,
                    ModelDecision& decision) {
  const SeenModel a(model_a);
  const SeenModel b(model_b);
  const auto stream = find_stream(a, b);
  decision.stream_found = stream.has_value();
  decision.stream = stream.value_or(StreamTransport::identity(a.config().model_width));
  const ModelPieces pieces(a, b, decision.stream, options.outputs);
  decision.outer = pieces.compare_outside();
  decision.blocks.resize(static_cast<std::size_t>(a.config().blocks()));
  DecideOptions attention;
  attention.search_witness = false;
  // Modules are the largest pieces; others are read in chunks.
  std::mutex attention_in_memory;
  options.run_tasks(decision.blocks.size(), [&](std::size_t i) {
    const auto layer = static_cast<Index>(i);
    BlockDecision& block = decision.blocks[i];
    block.norms = pieces.compare_norms_behind(layer);
    block.mlp = compare_mlps(a.config().mlp, pieces.neurons_of_a(layer), pieces.neurons_of_b(layer),
                             a.config().model_width);
    block.attention =
        decide_equivalence(pieces.attention_of_a(layer), pieces.attention_of_b(layer), attention);
  });
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
  if (!norms.agrees()) return "norms behind attention or MLP";
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

ModelDecision decide_models(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options) {
  ModelDecision decision;
  TokenSearch search{.seed = options.seed, .tokens = {}, .outputs = options.outputs};
  const std::string apart = different_architecture(a.config(), b.config());
  if (apart.empty()) {
    compare_orbits(a, b, options, decision);
    note_first_difference(decision, search);
    if (!decision.first_difference) {
      decision.verdict = is_exact(decision) ? ModelVerdict::Identical : ModelVerdict::Equivalent;
      decision.reason =
          std::string("every piece of A agrees with B, the stream moved by ") + name_of(decision.stream);
      return decision;
    }
  }
  decision.witness = search_tokens(a, b, search);
  const std::string where = apart.empty() ? "the first difference is in " + *decision.first_difference
                                          : "the architectures differ: " + apart;
  if (decision.witness->strength() >= options.witness_factor) {
    decision.verdict = ModelVerdict::Distinct;
    decision.reason = "outputs are " + brief(decision.witness->gap) + " apart where rounding explains " +
                      brief(decision.witness->noise) + "; " + where;
  } else {
    decision.reason =
        where + ", but on no tokens that were tried are outputs further apart than rounding explains";
  }
  return decision;
}

}  // namespace attnsym
