#include "verify/models/model_pieces.hpp"

#include <algorithm>
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
  compare_head(list);
  return list;
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
  EntrySums sums;
  for (Index first = 0; first < count; first += chunk_rows) {
    const Index rows = std::min(chunk_rows, count - first);
    sums.add(stream_.written(rows_of(a_, mean_a, first, rows)), rows_of(b_, mean_b, first, rows));
  }
  list.push_back({"unembedding", sums.result(width())});
  const auto bias_of = [&](const SeenModel& model) {
    StoredMatrix bias = model.output_bias();
    if (bias.value.size() == 0) bias = {Matrix<double>::Zero(1, count), Matrix<double>::Zero(1, count)};
    return shifts ? centred_rows(std::move(bias)) : bias;
  };
  list.push_back({"bias of the outputs", compare_entries(bias_of(a_), bias_of(b_), width())});
}

StoredMatrix ModelPieces::mean_row(const SeenModel& model) const {
  const Index count = model.row_count(Table::Unembedding);
  const Index chunk_rows = rows_at_once();
  StoredMatrix mean{Matrix<double>::Zero(1, width()), {}};
  for (Index first = 0; first < count; first += chunk_rows) {
    const Index rows = std::min(chunk_rows, count - first);
    mean.value += model.rows(Table::Unembedding, first, rows).value.colwise().sum();
  }
  mean.value /= static_cast<double>(count);
  return mean;
}

}  // namespace attnsym
