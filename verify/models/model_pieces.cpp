#include "verify/models/model_pieces.hpp"

#include <algorithm>
#include <limits>
#include <utility>

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

std::vector<OuterComparison> ModelPieces::compare_outside() const {
  std::vector<OuterComparison> list;
  compare_table(list, Table::Embedding, "embeddings");
  compare_table(list, Table::Positions, "positions");
  compare_table(list, Table::TokenTypes, "token types");
  if (a_.config().embedding_norm)
    list.push_back({"norm of embeddings", compare_norms(a_.embedding_norm(), b_.embedding_norm())});
  if (a_.config().head_transform.width > 0) compare_transform(list);
  if (a_.row_count(Table::Unembedding) > 0) compare_head(list);
  for (std::size_t i = 0; i < a_.config().tasks.size(); ++i) compare_task(list, i);
  return list;
}

// The space that a transform ends in has a basis of its own, where places and signs have to agree; or that of
// the stream, which then may change its places alone, as activations know signs.
void ModelPieces::compare_transform(std::vector<OuterComparison>& list) const {
  const bool ends_in_stream = a_.config().ends_in_stream();
  const StoredTransform a = a_.head_transform();
  const StoredTransform b = b_.head_transform();
  StoredMatrix dense = stream_.read({a.value.dense, a.radius.dense});
  StoredMatrix bias{a.value.bias, a.radius.bias};
  if (ends_in_stream) {
    dense = stream_.written(std::move(dense));
    bias = stream_.written(std::move(bias));
  }
  EntryComparison entries = worse(compare_entries(dense, {b.value.dense, b.radius.dense}, width()),
                                  compare_entries(bias, {b.value.bias, b.radius.bias}, width()));
  if (ends_in_stream && !stream_.keeps_signs()) {
    entries.ratio = std::numeric_limits<double>::infinity();
    entries.is_exact = false;
  }
  list.push_back({"transform of the head", entries, true});
}

void ModelPieces::compare_task(std::vector<OuterComparison>& list, std::size_t index) const {
  const std::string name = "task " + std::to_string(index);
  const TaskConfig& config = a_.config().tasks[index];
  StoredTask a = a_.task(index);
  StoredTask b = b_.task(index);
  const auto compare = [&](const Matrix<double>& value_a, const Matrix<double>& radius_a,
                           const Matrix<double>& value_b, const Matrix<double>& radius_b, bool reads) {
    const StoredMatrix stored{value_a, radius_a};
    return compare_entries(reads ? stream_.read(stored) : stored, {value_b, radius_b}, width());
  };
  const auto compare_rows = [&](RowVector<double> Task<double>::*row) {
    const auto numbers = [&](const Task<double>& task) -> Matrix<double> {
      if ((task.*row).size() > 0) return task.*row;
      return Matrix<double>::Zero(1, config.outputs);
    };
    return compare(numbers(a.value), numbers(a.radius), numbers(b.value), numbers(b.radius), false);
  };
  const bool has_transform = config.transform.width > 0;
  if (has_transform) {
    const Transform<double>& of_a = a.value.transform;
    const Transform<double>& of_b = b.value.transform;
    const Transform<double>& errors_a = a.radius.transform;
    const Transform<double>& errors_b = b.radius.transform;
    EntryComparison entries = worse(compare(of_a.dense, errors_a.dense, of_b.dense, errors_b.dense, true),
                                    compare(of_a.bias, errors_a.bias, of_b.bias, errors_b.bias, false));
    entries = worse(entries,
                    compare(of_a.norm.gain, errors_a.norm.gain, of_b.norm.gain, errors_b.norm.gain, false));
    entries = worse(entries,
                    compare(of_a.norm.bias, errors_a.norm.bias, of_b.norm.bias, errors_b.norm.bias, false));
    list.push_back({name + ": transform", entries, true});
  }
  if (config.outputs == 0) return;
  list.push_back({name + ": map",
                  compare(a.value.output, a.radius.output, b.value.output, b.radius.output, !has_transform),
                  true});
  list.push_back({name + ": bias", compare_rows(&Task<double>::output_bias), true});
}

// Gains lose the signs of the stream's transport, biases keep them.
EntryComparison ModelPieces::compare_norms(const StoredNorm& a, const StoredNorm& b) const {
  const StoredMatrix gain_a{a.value.gain, a.radius.gain};
  const StoredMatrix gain_b{b.value.gain, b.radius.gain};
  const StoredMatrix bias_a{a.value.bias, a.radius.bias};
  const StoredMatrix bias_b{b.value.bias, b.radius.bias};
  return worse(compare_entries(stream_.placed(gain_a), gain_b, width()),
               compare_entries(stream_.written(bias_a), bias_b, width()));
}

EntryComparison ModelPieces::compare_norms_behind(Index layer) const {
  const auto at = [&](NormPlace place) {
    return compare_norms(a_.norm_behind(place, layer), b_.norm_behind(place, layer));
  };
  return worse(at(NormPlace::AttentionOutput), at(NormPlace::MlpOutput));
}

Index ModelPieces::rows_at_once() const {
  return stream_.kind() == StreamTransport::Kind::Orthogonal ? many : std::max<Index>(32, few(width()));
}

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

void ModelPieces::compare_table(std::vector<OuterComparison>& list, Table table, const char* name) const {
  const Index count = a_.row_count(table);
  if (count == 0) return;
  const Index chunk_rows = rows_at_once();
  EntrySums sums;
  for (Index first = 0; first < count; first += chunk_rows) {
    const Index rows = std::min(chunk_rows, count - first);
    sums.add(stream_.written(a_.rows(table, first, rows)), b_.rows(table, first, rows));
  }
  list.push_back({name, sums.result(width())});
}

// What all outputs of a token have in common does not count for probabilities.
void ModelPieces::compare_head(std::vector<OuterComparison>& list) const {
  const Index count = a_.row_count(Table::Unembedding);
  const Index chunk_rows = rows_at_once();
  const bool shifts = outputs_ == Outputs::Probabilities && a_.config().logit_softcap == 0;
  const StoredMatrix mean_a = shifts ? mean_row(a_) : StoredMatrix{};
  const StoredMatrix mean_b = shifts ? mean_row(b_) : StoredMatrix{};
  const auto rows_of = [&](const SeenModel& model, const StoredMatrix& mean, Index first, Index rows) {
    StoredMatrix result = model.rows(Table::Unembedding, first, rows);
    if (shifts) result.value.rowwise() -= mean.value.row(0);
    return result;
  };
  const bool is_in_stream = a_.has_unembedding_in_stream();
  EntrySums sums;
  for (Index first = 0; first < count; first += chunk_rows) {
    const Index rows = std::min(chunk_rows, count - first);
    StoredMatrix of_a = rows_of(a_, mean_a, first, rows);
    if (is_in_stream) of_a = stream_.written(std::move(of_a));
    sums.add(of_a, rows_of(b_, mean_b, first, rows));
  }
  list.push_back({"unembedding", sums.result(width()), true});
  const auto bias_of = [&](const SeenModel& model) {
    StoredMatrix bias = model.output_bias();
    if (bias.value.size() == 0) bias = {Matrix<double>::Zero(1, count), Matrix<double>::Zero(1, count)};
    return shifts ? centred_rows(std::move(bias)) : bias;
  };
  list.push_back({"bias of the outputs", compare_entries(bias_of(a_), bias_of(b_), width()), true});
}

StoredMatrix ModelPieces::mean_row(const SeenModel& model) const {
  const Index count = model.row_count(Table::Unembedding);
  const Index chunk_rows = rows_at_once();
  StoredMatrix mean{Matrix<double>::Zero(1, model.rows(Table::Unembedding, 0, 1).value.cols()), {}};
  for (Index first = 0; first < count; first += chunk_rows) {
    const Index rows = std::min(chunk_rows, count - first);
    mean.value += model.rows(Table::Unembedding, first, rows).value.colwise().sum();
  }
  mean.value /= static_cast<double>(count);
  return mean;
}

}  // namespace attnsym
