#include "verify/checker/model_pieces.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "verify/models/arithmetic_sums.hpp"
#include "verify/models/stored_algebra.hpp"

namespace attnsym {
namespace {

// Rows and neurons whose numbers stay in a processor's second cache.
Index few(Index width) { return std::clamp<Index>(16384 / width, 4, 512); }

constexpr Index many = 256;  // a rotation reads D x D numbers for all of them

class MovedNeurons : public NeuronReader {
 public:
  MovedNeurons(std::unique_ptr<NeuronReader> neurons, const StreamTransport& stream)
      : neurons_(std::move(neurons)), stream_(stream) {}

  Index count() const override { return neurons_->count(); }

  StoredNeurons read(std::span<const Index> which) const override {
    StoredNeurons neurons = neurons_->read(which);
    for (StoredMatrix* one : {&neurons.gate, &neurons.up}) {
      if (one->value.size() == 0) continue;
      const Index width = one->value.rows() - 1;  // biases are below
      const StoredMatrix moved = stream_.read({one->value.topRows(width), one->radius.topRows(width)});
      one->value.topRows(width) = moved.value;
      one->radius.topRows(width) = moved.radius;
    }
    neurons.down = stream_.read(std::move(neurons.down));
    return neurons;
  }

 private:
  std::unique_ptr<NeuronReader> neurons_;
  const StreamTransport& stream_;
};

}  // namespace

ModelPieces::ModelPieces(const StoredModel& a, const StoredModel& b, const StreamTransport& stream,
                         Outputs outputs)
    : stream_(stream),
      outputs_(outputs),
      surprise_(surprise_of(lines(a.config()))),
      shared_(a, b, stream, surprise_),
      a_(shared_.a()),
      b_(shared_.b()) {}

double ModelPieces::lines(const TransformerConfig& config) {
  const auto width = static_cast<double>(config.model_width);
  double count = static_cast<double>(2 * config.vocabulary + config.positions) + 2 * width;
  for (const AttentionConfig& module : config.attention)
    count += static_cast<double>(4 * module.heads) * (width + 1);
  return count +
         static_cast<double>(config.blocks()) * (3 * width + static_cast<double>(3 * config.mlp.width));
}

// [N7] As stored but for places and signs: two roundings, nothing multiplied. A folded gain is one product
// more on either side, and errors of gains are those of whole rows.
EntryRules ModelPieces::rules(bool as_stored) const {
  EntryRules rules;
  rules.surprise = surprise_;
  rules.own_width = width();
  if (rotated()) {
    rules.inner_width = rotation_sums(width());
    rules.sources = 0;
  } else if (!as_stored) {
    rules.inner_width = 1;
    rules.sources = 4;
  }
  rules.independent = !rotated() && as_stored;
  return rules;
}

// Biases that took up those of norms are sums of D products, of errors at least.
EntryRules ModelPieces::bias_rules(bool as_stored) const {
  EntryRules rules = this->rules(as_stored);
  rules.independent = false;
  if (a_.config().norm == NormKind::Layer) rules.sources = 0;
  if (as_stored && !rotated()) return rules;
  rules.inner_width = width();
  rules.sources = 0;
  return rules;
}

bool ModelPieces::shares_norm_before(Reader reader, Index layer) const {
  const auto place = a_.place_before(reader, layer);
  return !place || shared_.shares(place->norm, place->layer) ||
         shared_.a().norm(place->norm, place->layer).value.gain.size() == 0;
}

// What is outside of blocks, each by itself.
std::vector<std::function<ModelPieces::Outside()>> ModelPieces::outside() const {
  std::vector<std::function<Outside()>> parts{
      [this] { return compare_embeddings(); },
      [this] { return compare_table(Table::Positions, "positions"); },
      [this] { return compare_table(Table::TokenTypes, "token types"); },
      [this] { return compare_norms_outside(); },
  };
  if (a_.config().head_transform.width > 0) parts.emplace_back([this] { return compare_transform(); });
  if (a_.row_count(Table::Unembedding) > 0) {
    parts.emplace_back([this] { return compare_unembedding(); });
    parts.emplace_back([this] { return compare_output_bias(); });
  }
  for (std::size_t i = 0; i < a_.config().tasks.size(); ++i)
    parts.emplace_back([this, i] { return compare_task(i); });
  return parts;
}

std::vector<OuterComparison> ModelPieces::compare_outside(const RunTasks& run) const {
  const auto parts = outside();
  std::vector<Outside> results(parts.size());
  run(parts.size(), [&](std::size_t i) { results[i] = parts[i](); });
  Outside all;
  for (const Outside& some : results) all.insert(all.end(), some.begin(), some.end());
  return all;
}

ModelPieces::Outside ModelPieces::compare_norms_outside() const {
  Outside list;
  if (a_.config().embedding_norm) {
    list.push_back({"norm of embeddings", worse(shared_.norm_outside(NormPlace::Embedding),
                                                compare_norms(a_.embedding_norm(), b_.embedding_norm()))});
  }
  if (shared_.shares(NormPlace::Final, 0))
    list.push_back({"last norm", shared_.norm_outside(NormPlace::Final), true});
  return list;
}

// The space that a transform ends in has a basis of its own, where places and signs have to agree; or that of
// the stream, which then may change its places alone, as activations know signs.
ModelPieces::Outside ModelPieces::compare_transform() const {
  const bool ends_in_stream = a_.config().ends_in_stream();
  const bool as_stored = shares_norm_before(Reader::Last, 0);
  const StoredTransform a = a_.head_transform();
  const StoredTransform b = b_.head_transform();
  StoredMatrix dense = stream_.read({a.value.dense, a.radius.dense});
  StoredMatrix bias{a.value.bias, a.radius.bias};
  if (ends_in_stream) {
    dense = stream_.written(std::move(dense));
    bias = stream_.written(std::move(bias));
  }
  EntryComparison entries =
      worse(compare_entries(dense, {b.value.dense, b.radius.dense}, rules(as_stored)),
            compare_entries(bias, {b.value.bias, b.radius.bias}, bias_rules(as_stored)));
  if (ends_in_stream && !stream_.keeps_signs()) {
    entries.ratio = std::numeric_limits<double>::infinity();
    entries.is_exact = false;
  }
  return {{"transform of the head", entries, true}};
}

// A transform that no map reads keeps its norm; a map has that of what it reads multiplied in.
ModelPieces::Outside ModelPieces::compare_task(std::size_t index) const {
  Outside list;
  const std::string name = "task " + std::to_string(index);
  const TaskConfig& config = a_.config().tasks[index];
  StoredTask a = a_.task(index);
  StoredTask b = b_.task(index);
  const bool has_transform = config.transform.width > 0;
  const bool as_stored = shares_norm_before(Reader::Last, 0);
  if (has_transform) {
    const auto part = [](const auto& value, const auto& radius) { return StoredMatrix{value, radius}; };
    const auto compare = [&](auto member, const EntryRules& rules, bool reads) {
      const StoredMatrix of_a = part(member(a.value.transform), member(a.radius.transform));
      return compare_entries(reads ? stream_.read(of_a) : of_a,
                             part(member(b.value.transform), member(b.radius.transform)), rules);
    };
    EntryComparison entries = compare([](const auto& t) { return t.dense; }, rules(as_stored), true);
    entries = worse(entries, compare([](const auto& t) { return t.bias; }, bias_rules(as_stored), false));
    entries = worse(entries, compare([](const auto& t) { return t.norm.gain; }, rules(true), false));
    entries = worse(entries, compare([](const auto& t) { return t.norm.bias; }, rules(true), false));
    list.push_back({name + ": transform", entries, true});
  }
  if (config.outputs == 0) return list;
  const bool map_as_stored = has_transform ? !config.transform.norm : as_stored;
  const StoredMatrix map{a.value.output, a.radius.output};
  list.push_back({name + ": map",
                  compare_entries(has_transform ? map : stream_.read(map), {b.value.output, b.radius.output},
                                  rules(map_as_stored)),
                  true});
  const auto bias = [&](const StoredTask& task) {
    if (task.value.output_bias.size() > 0)
      return StoredMatrix{task.value.output_bias, task.radius.output_bias};
    return StoredMatrix{Matrix<double>::Zero(1, config.outputs), Matrix<double>::Zero(1, config.outputs)};
  };
  list.push_back({name + ": bias", compare_entries(bias(a), bias(b), bias_rules(map_as_stored)), true});
  return list;
}

// Gains lose the signs of the stream's transport, biases keep them.
EntryComparison ModelPieces::compare_norms(const StoredNorm& a, const StoredNorm& b) const {
  const StoredMatrix gain_a{a.value.gain, a.radius.gain};
  const StoredMatrix gain_b{b.value.gain, b.radius.gain};
  const StoredMatrix bias_a{a.value.bias, a.radius.bias};
  const StoredMatrix bias_b{b.value.bias, b.radius.bias};
  return worse(compare_entries(stream_.placed(gain_a), gain_b, rules(true)),
               compare_entries(stream_.written(bias_a), bias_b, bias_rules(true)));
}

EntryComparison ModelPieces::compare_norms(Index layer) const {
  const auto behind = [&](NormPlace place) {
    return compare_norms(a_.norm_behind(place, layer), b_.norm_behind(place, layer));
  };
  return worse(shared_.norms_of_block(layer),
               worse(behind(NormPlace::AttentionOutput), behind(NormPlace::MlpOutput)));
}

Index ModelPieces::rows_at_once() const { return rotated() ? many : std::max<Index>(32, few(width())); }

SeenMlp ModelPieces::mlp_of_a(Index layer) const {
  SeenMlp mlp{a_.neurons(layer), stream_.written(a_.mlp_bias(layer)), few(width())};
  if (stream_.kind() != StreamTransport::Kind::Identity)
    mlp.neurons = std::make_unique<MovedNeurons>(std::move(mlp.neurons), stream_);
  if (stream_.kind() == StreamTransport::Kind::Orthogonal) mlp.at_once = many;
  return mlp;
}

SeenMlp ModelPieces::mlp_of_b(Index layer) const {
  return {b_.neurons(layer), b_.mlp_bias(layer), few(width())};
}

MlpRules ModelPieces::mlp_rules(Index layer) const {
  const bool as_stored = shares_norm_before(Reader::Mlp, layer);
  return {rules(as_stored), bias_rules(as_stored)};
}

// Rows of both, moved and as they are. Lines that are repeated round alike, so that only one of them counts
// for what is aligned; to tell them costs a second look.
template <class Rows>
EntryComparison ModelPieces::compare_rows(Index count, EntryRules rules, bool in_stream, Rows rows_of) const {
  const Index chunk_rows = rows_at_once();
  const auto compare = [&] {
    EntrySums sums(rules);
    for (Index first = 0; first < count; first += chunk_rows) {
      const Index rows = std::min(chunk_rows, count - first);
      StoredMatrix of_a = rows_of(a_, first, rows);
      if (in_stream) of_a = stream_.written(std::move(of_a));
      sums.add(of_a, rows_of(b_, first, rows));
    }
    return sums.result();
  };
  EntryComparison result = compare();
  if (!(result.aligned > 1)) return result;
  rules.skip_repeated = true;
  return compare();
}

// Positions and types that are not shared have been added to all rows alike.
ModelPieces::Outside ModelPieces::compare_embeddings() const {
  const TransformerConfig& config = a_.config();
  EntryRules rules = this->rules(true);
  const bool adds_positions =
      config.positions > 0 && !shared_.shares(Table::Positions) && !config.class_token;
  const bool adds_types = config.token_types > 0 && !shared_.shares(Table::TokenTypes) && !config.class_token;
  if (adds_positions || adds_types) {
    rules.independent = false;
    if (rules.sources > 0) rules.sources = 6;
  }
  const Index count = a_.row_count(Table::Embedding);
  return {
      {"embeddings", compare_rows(count, rules, true, [](const SeenModel& model, Index first, Index rows) {
         return model.rows(Table::Embedding, first, rows);
       })}};
}

ModelPieces::Outside ModelPieces::compare_table(Table table, const char* name) const {
  const Index count = a_.row_count(table);
  if (count == 0) return {};
  EntryRules rules = this->rules(true);
  rules.independent = false;
  if (rules.sources > 0) rules.sources = 6;
  EntryComparison entries = compare_rows(
      count, rules, true,
      [&](const SeenModel& model, Index first, Index rows) { return model.rows(table, first, rows); });
  if (shared_.shares(table)) entries = worse(entries, shared_.table(table));
  return {{name, entries}};
}

// What all outputs of a token have in common does not count for probabilities.
bool ModelPieces::outputs_may_shift() const {
  return outputs_ == Outputs::Probabilities && a_.config().logit_softcap == 0;
}

bool ModelPieces::has_head_as_stored() const {
  return a_.config().head_transform.width == 0 && shares_norm_before(Reader::Last, 0);
}

ModelPieces::Outside ModelPieces::compare_unembedding() const {
  const bool shifts = outputs_may_shift();
  const StoredMatrix mean_a = shifts ? mean_row(a_) : StoredMatrix{};
  const StoredMatrix mean_b = shifts ? mean_row(b_) : StoredMatrix{};
  EntryRules rules = this->rules(has_head_as_stored());
  rules.independent = rules.independent && !shifts;
  const auto rows_of = [&](const SeenModel& model, Index first, Index rows) {
    StoredMatrix result = model.rows(Table::Unembedding, first, rows);
    if (shifts) result.value.rowwise() -= (&model == &a_ ? mean_a : mean_b).value.row(0);
    return result;
  };
  return {{"unembedding",
           compare_rows(a_.row_count(Table::Unembedding), rules, a_.has_unembedding_in_stream(), rows_of),
           true}};
}

ModelPieces::Outside ModelPieces::compare_output_bias() const {
  const Index count = a_.row_count(Table::Unembedding);
  const auto bias_of = [&](const SeenModel& model) {
    StoredMatrix bias = model.output_bias();
    if (bias.value.size() == 0) bias = {Matrix<double>::Zero(1, count), Matrix<double>::Zero(1, count)};
    return outputs_may_shift() ? centred_rows(std::move(bias)) : bias;
  };
  return {{"bias of the outputs", compare_entries(bias_of(a_), bias_of(b_), bias_rules(has_head_as_stored())),
           true}};
}

StoredMatrix ModelPieces::mean_row(const SeenModel& model) const {
  const Index count = model.row_count(Table::Unembedding);
  const Index chunk_rows = rows_at_once();
  const Index columns = model.rows(Table::Unembedding, 0, 1).value.cols();
  StoredMatrix mean{Matrix<double>::Zero(1, columns), {}};
  for (Index first = 0; first < count; first += chunk_rows) {
    const Index rows = std::min(chunk_rows, count - first);
    mean.value += model.rows(Table::Unembedding, first, rows).value.colwise().sum();
  }
  mean.value /= static_cast<double>(count);
  return mean;
}

}  // namespace attnsym
