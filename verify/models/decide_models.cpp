#include "verify/models/decide_models.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "symmetry/errors.hpp"
#include "verify/models/stored_algebra.hpp"

namespace attnsym {
namespace {

constexpr Index chunk_rows = 1024;

// Why no transport of the stream can carry one model to the other, whatever the weights; empty if one may.
std::string different_architecture(const TransformerConfig& a, const TransformerConfig& b) {
  if (a.blocks() != b.blocks())
    return std::to_string(a.blocks()) + " and " + std::to_string(b.blocks()) + " blocks";
  if (a.model_width != b.model_width)
    return "widths " + std::to_string(a.model_width) + " and " + std::to_string(b.model_width);
  if (a.norm != b.norm || a.norm_epsilon != b.norm_epsilon) return "different norms";
  if (a.placement != b.placement || a.parallel != b.parallel || a.embedding_norm != b.embedding_norm ||
      a.final_norm != b.final_norm)
    return "norms in different places";
  if (a.positions != b.positions || a.position_offset != b.position_offset || a.token_types != b.token_types)
    return "different tables of positions or token types";
  if (a.mlp.activation != b.mlp.activation || a.mlp.gated != b.mlp.gated) return "different activations";
  if (a.logit_softcap != b.logit_softcap) return "different caps of logits";
  return {};
}

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

// A norm's row, in the words of the stream's transport: gains lose signs, biases keep them.
EntryComparison compare_norms(const StreamTransport& stream, const StoredNorm& a, const StoredNorm& b) {
  const Index width = std::max<Index>(a.value.gain.size(), 1);
  const StoredMatrix gain_a{a.value.gain, a.radius.gain};
  const StoredMatrix gain_b{b.value.gain, b.radius.gain};
  const StoredMatrix bias_a{a.value.bias, a.radius.bias};
  const StoredMatrix bias_b{b.value.bias, b.radius.bias};
  return worse(compare_entries(stream.placed(gain_a), gain_b, width),
               compare_entries(stream.written(bias_a), bias_b, width));
}

class ModelJudge {
 public:
  ModelJudge(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options)
      : a_(a), b_(b), options_(options) {}

  void compare_orbits(ModelDecision& decision) const {
    const auto stream = find_stream(a_, b_);
    decision.stream_found = stream.has_value();
    decision.stream = stream.value_or(StreamTransport::identity(width()));
    compare_table(decision, Table::Embedding, "embeddings");
    compare_table(decision, Table::Positions, "positions");
    compare_table(decision, Table::TokenTypes, "token types");
    if (a_.config().embedding_norm) {
      decision.outer.push_back(
          {"norm of embeddings", compare_norms(decision.stream, a_.embedding_norm(), b_.embedding_norm())});
    }
    decision.blocks.resize(static_cast<std::size_t>(a_.config().blocks()));
    options_.run_tasks(decision.blocks.size(), [&](std::size_t layer) {
      decision.blocks[layer] = compare_block(decision.stream, static_cast<Index>(layer));
    });
    compare_head(decision);
  }

 private:
  Index width() const { return a_.config().model_width; }

  void compare_table(ModelDecision& decision, Table table, const char* name) const {
    const Index count = a_.row_count(table);
    if (count == 0) return;
    EntrySums sums;
    for (Index first = 0; first < count; first += chunk_rows) {
      const Index rows = std::min(chunk_rows, count - first);
      sums.add(decision.stream.written(a_.rows(table, first, rows)), b_.rows(table, first, rows));
    }
    decision.outer.push_back({name, sums.result(width())});
  }

  BlockDecision compare_block(const StreamTransport& stream, Index layer) const {
    const auto norms_at = [&](NormPlace place) {
      return compare_norms(stream, a_.norm_behind(place, layer), b_.norm_behind(place, layer));
    };
    BlockDecision decision;
    decision.norms = worse(norms_at(NormPlace::AttentionOutput), norms_at(NormPlace::MlpOutput));
    decision.mlp = compare_mlps(
        a_.config().mlp,
        {a_.config().mlp.width,
         [&](std::span<const Index> which) { return moved(stream, a_.neurons(layer, which)); }},
        {b_.config().mlp.width, [&](std::span<const Index> which) { return b_.neurons(layer, which); }},
        width());
    DecideOptions options;
    options.search_witness = false;
    decision.attention = decide_equivalence(stream.moved(a_.attention(layer)), b_.attention(layer), options);
    return decision;
  }

  static SeenMlp moved(const StreamTransport& stream, SeenMlp mlp) {
    mlp.up = stream.read(mlp.up);
    mlp.gate = stream.read(mlp.gate);
    mlp.down = stream.written(mlp.down);
    mlp.down_bias = stream.written(mlp.down_bias);
    return mlp;
  }

  // What all outputs of a token have in common does not count for probabilities.
  void compare_head(ModelDecision& decision) const {
    const Index count = a_.row_count(Table::Unembedding);
    const bool shifts = options_.outputs == Outputs::Probabilities && a_.config().logit_softcap == 0;
    const StoredMatrix mean_a = shifts ? mean_row(a_) : StoredMatrix{};
    const StoredMatrix mean_b = shifts ? mean_row(b_) : StoredMatrix{};
    const auto rows_of = [&](const SeenModel& model, const StoredMatrix& mean, Index first, Index rows) {
      StoredMatrix result = model.rows(Table::Unembedding, first, rows);
      if (shifts) result.value.rowwise() -= mean.value.row(0);
      return result;
    };
    EntrySums sums;
    for (Index first = 0; first < count; first += chunk_rows) {
      const Index rows = std::min(chunk_rows, count - first);
      sums.add(decision.stream.written(rows_of(a_, mean_a, first, rows)), rows_of(b_, mean_b, first, rows));
    }
    decision.outer.push_back({"unembedding", sums.result(width())});
    const auto bias_of = [&](const SeenModel& model) {
      StoredMatrix bias = model.output_bias();
      if (bias.value.size() == 0) bias = {Matrix<double>::Zero(1, count), Matrix<double>::Zero(1, count)};
      return shifts ? centred_rows(std::move(bias)) : bias;
    };
    decision.outer.push_back({"bias of the outputs", compare_entries(bias_of(a_), bias_of(b_), width())});
  }

  StoredMatrix mean_row(const SeenModel& model) const {
    const Index count = model.row_count(Table::Unembedding);
    StoredMatrix mean{Matrix<double>::Zero(1, width()), {}};
    for (Index first = 0; first < count; first += chunk_rows) {
      const Index rows = std::min(chunk_rows, count - first);
      mean.value += model.rows(Table::Unembedding, first, rows).value.colwise().sum();
    }
    mean.value /= static_cast<double>(count);
    return mean;
  }

  SeenModel a_;
  SeenModel b_;
  const ModelDecideOptions& options_;
};

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

ModelDecision decide_models(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options) {
  ModelDecision decision;
  TokenSearch search{.seed = options.seed, .tokens = {}, .outputs = options.outputs};
  const std::string apart = different_architecture(a.config(), b.config());
  if (apart.empty()) {
    ModelJudge(a, b, options).compare_orbits(decision);
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
