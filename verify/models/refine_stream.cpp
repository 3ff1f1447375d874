#include "verify/models/refine_stream.hpp"

#include <algorithm>
#include <variant>

#include "symmetry/attention_symmetry.hpp"
#include "symmetry/matrix_products.hpp"
#include "verify/models/stream_transport.hpp"
#include "verify/stored_circuit.hpp"
#include "verify/stored_factors.hpp"

namespace attnsym {
namespace {

// Rows of A and of B that are the same up to the stream and their lengths.
class MatchedRows {
 public:
  // @param q  the rotation by which they were matched
  // @param keeps_mean  it has to
  MatchedRows(Matrix<double> q, bool keeps_mean)
      : q_(std::move(q)), keeps_mean_(keeps_mean), from_(0, q_.rows()), to_(0, q_.rows()) {}

  // Each brought to length 1: scales of neurons do not count, and their signs are those that agree. Rows that
  // were not meant, since nothing reads them or they were edited, are left out.
  void add(const Matrix<double>& a, const Matrix<double>& b) {
    constexpr double astray = 0.1;
    const Index first = from_.rows();
    from_.conservativeResize(first + a.rows(), q_.rows());
    to_.conservativeResize(first + a.rows(), q_.rows());
    const Matrix<double> moved = multiply(a, q_);
    Index at = first;
    for (Index k = 0; k < a.rows(); ++k) {
      const double size_a = a.row(k).norm();
      const double size_b = b.row(k).norm();
      if (!(size_a > 0) || !(size_b > 0)) continue;
      const double sign = moved.row(k).dot(b.row(k)) < 0 ? -1 : 1;
      if (!((moved.row(k) / size_a - sign * b.row(k) / size_b).norm() <= astray)) continue;
      from_.row(at) = a.row(k) / size_a;
      to_.row(at) = sign * b.row(k) / size_b;
      ++at;
    }
    from_.conservativeResize(at, q_.rows());
    to_.conservativeResize(at, q_.rows());
  }

  Index count() const { return from_.rows(); }

  StreamTransport fitted() const {
    constexpr int steps = 5;
    Matrix<double> q = q_;
    for (int step = 0; step < steps; ++step)
      q = polished_transport(refined_transport(from_, to_, q), keeps_mean_);
    return StreamTransport::orthogonal(std::move(q));
  }

 private:
  Matrix<double> q_;
  bool keeps_mean_;
  Matrix<double> from_;
  Matrix<double> to_;
};

void add_neurons(const SeenModel& a, const SeenModel& b, Index layer, const std::vector<Index>& image,
                 Index wanted, MatchedRows& rows) {
  std::vector<Index> of_a;
  std::vector<Index> of_b;
  for (std::size_t k = 0; k < image.size() && std::ssize(of_a) < wanted; ++k) {
    if (image[k] < 0) continue;
    of_a.push_back(static_cast<Index>(k));
    of_b.push_back(image[k]);
  }
  const StoredNeurons neurons_a = a.neurons(layer)->read(of_a);
  const StoredNeurons neurons_b = b.neurons(layer)->read(of_b);
  const Index width = a.config().model_width;
  for (StoredMatrix StoredNeurons::*part : {&StoredNeurons::gate, &StoredNeurons::up, &StoredNeurons::down}) {
    const Matrix<double>& x = (neurons_a.*part).value;  // a row for each coordinate, a last one of biases
    const Matrix<double>& y = (neurons_b.*part).value;
    if (x.size() > 0) rows.add(x.topRows(width).transpose(), y.topRows(width).transpose());
  }
}

// The gauges that were found act beside the stream: A moved by them differs from B by it alone.
void add_heads(const SeenModel& a, const SeenModel& b, Index layer, const Decision& attention,
               MatchedRows& rows) {
  const auto* equivalent = std::get_if<Equivalent>(&attention.verdict);
  if (equivalent == nullptr) return;
  const auto* element = std::get_if<AttentionElement<double>>(&equivalent->evidence);
  if (element == nullptr) return;
  const AttentionWeights<double> moved = act(*element, with_gains(with_all_biases(a.attention(layer))));
  const AttentionWeights<double> of_b = with_gains(b.attention(layer));
  for (std::size_t j = 0; j < moved.groups.size(); ++j) {
    const KvGroup<double>& x = moved.groups[j];
    const KvGroup<double>& y = of_b.groups[j];
    rows.add(x.key.transpose(), y.key.transpose());
    rows.add(x.value.transpose(), y.value.transpose());
    for (std::size_t i = 0; i < x.readers.size(); ++i) {
      rows.add(x.readers[i].query.transpose(), y.readers[i].query.transpose());
      rows.add(x.readers[i].output, y.readers[i].output);
    }
  }
}

}  // namespace

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

StreamTransport refine_stream(const SeenModel& a, const SeenModel& b, const ModelDecision& decision) {
  const Index width = a.config().model_width;
  const Index wanted = 16 * width;
  MatchedRows rows(decision.stream.matrix(), a.config().norm == NormKind::Layer);
  rows.add(sampled_rows(a, wanted / 4).value, sampled_rows(b, wanted / 4).value);
  for (std::size_t block = 0; block < decision.blocks.size() && rows.count() < wanted; ++block) {
    const auto layer = static_cast<Index>(block);
    add_heads(a, b, layer, decision.blocks[block].attention, rows);
    add_neurons(a, b, layer, decision.blocks[block].mlp.image, wanted, rows);
  }
  return rows.fitted();
}

}  // namespace attnsym
