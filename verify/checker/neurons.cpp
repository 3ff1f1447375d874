#include "verify/checker/neurons.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>
#include <vector>

namespace attnsym {
namespace {

Index count_of(const StoredNeurons& neurons) { return neurons.down.value.cols(); }

void scale_column(StoredMatrix& matrix, Index column, double factor) {
  matrix.value.col(column) *= factor;
  matrix.radius.col(column) *= std::abs(factor);
}

// A factor and the square of its relative error from rounding, up to a number that all have in common.
struct Fit {
  double factor;
  double variance;
};

// What column k of a has to be multiplied by to become that of b.
Fit fitted(const StoredMatrix& a, const StoredMatrix& b, Index k) {
  const auto from = a.value.col(k);
  const double square = from.squaredNorm();
  const double factor = from.dot(b.value.col(k)) / square;
  const auto variances = a.radius.col(k).cwiseAbs2() + b.radius.col(k).cwiseAbs2() / (factor * factor);
  return {factor, from.cwiseAbs2().dot(variances) / (square * square)};
}

// A matrix of neurons whose columns may be scaled.
struct Scalable {
  StoredMatrix StoredNeurons::*part;
  bool only_by_positive = false;
};

// Those whose factors may be anything with product 1: what an activation that lets positive scales through is
// applied to, what a gate multiplies, and what is written.
std::vector<Scalable> scalable_parts(const MlpConfig& config) {
  std::vector<Scalable> parts;
  if (config.activation == Activation::Relu)
    parts.push_back({config.gated ? &StoredNeurons::gate : &StoredNeurons::up, true});
  if (config.gated) parts.push_back({&StoredNeurons::up});
  if (!parts.empty()) parts.push_back({&StoredNeurons::down});
  return parts;
}

// The factors that carry neuron k of a to that of b: the fitted ones, moved until their product is 1, those
// most that are known worst. All 1 where none are.
std::vector<double> fitted_scales(const std::vector<Scalable>& parts, const StoredNeurons& a,
                                  const StoredNeurons& b, Index k) {
  std::vector<Fit> fits;
  double product = 1;
  double variance = 0;
  bool allowed = true;
  for (const Scalable& one : parts) {
    fits.push_back(fitted(a.*one.part, b.*one.part, k));
    product *= fits.back().factor;
    variance += fits.back().variance;
    allowed = allowed && (fits.back().factor > 0 || !one.only_by_positive);
  }
  std::vector<double> scales(parts.size(), 1);
  if (!allowed || !(product > 0) || !std::isfinite(product) || !std::isfinite(variance)) return scales;
  double last = 1;  // what is left for what is written
  for (std::size_t i = 0; i + 1 < fits.size(); ++i) {
    const double share = variance > 0 ? fits[i].variance / variance : 0;
    scales[i] = fits[i].factor * std::pow(product, -share);
    last /= scales[i];
  }
  scales.back() = last;
  return scales;
}

bool is_power_of_two(double x) {
  int exponent = 0;
  return std::abs(std::frexp(x, &exponent)) == 0.5;
}

// Weights of neurons without the row of biases below, and that row.
StoredMatrix without_last_row(const StoredMatrix& m) {
  if (m.value.size() == 0) return {};
  return {m.value.topRows(m.value.rows() - 1), m.radius.topRows(m.radius.rows() - 1)};
}
StoredMatrix last_row(const StoredMatrix& m) {
  if (m.value.size() == 0) return {};
  return {m.value.bottomRows(1), m.radius.bottomRows(1)};
}

// Adds up the comparison of neurons that come in chunks.
class NeuronSums {
 public:
  NeuronSums(const MlpConfig& config, const MlpRules& rules)
      : scalable_(scalable_parts(config)),
        gate_(rules.weights, EntrySums::Chunks::Columns),
        up_(rules.weights, EntrySums::Chunks::Columns),
        down_(rules.weights, EntrySums::Chunks::Columns),
        gate_bias_(rules.biases, EntrySums::Chunks::Columns),
        up_bias_(rules.biases, EntrySums::Chunks::Columns) {}

  // @param a  is scaled
  void add(StoredNeurons&& a, const StoredNeurons& b) {
    for (Index k = 0; !scalable_.empty() && k < count_of(a); ++k) {
      const std::vector<double> scales = fitted_scales(scalable_, a, b, k);
      for (std::size_t i = 0; i < scales.size(); ++i) scale(a.*scalable_[i].part, k, scales[i]);
    }
    gate_.add(without_last_row(a.gate), without_last_row(b.gate));
    gate_bias_.add(last_row(a.gate), last_row(b.gate));
    up_.add(without_last_row(a.up), without_last_row(b.up));
    up_bias_.add(last_row(a.up), last_row(b.up));
    down_.add(a.down, b.down);
  }

  // Of neurons: a column each.
  EntryComparison result() const {
    EntryComparison all = gate_.result();
    for (const EntrySums* sums : {&up_, &gate_bias_, &up_bias_, &down_}) all = worse(all, sums->result());
    all.is_exact = all.is_exact && scales_are_exact_;
    return all;
  }

  void write(MlpComparison& result) const {
    result.neurons = this->result();
    Index place = -1;
    double largest = -1;
    for (const EntrySums* sums : {&gate_, &up_, &gate_bias_, &up_bias_, &down_}) {
      const EntryComparison part = sums->result();
      const double ratio = part.column_ratio / part.limit;
      if (ratio <= largest || part.column < 0) continue;
      largest = ratio;
      place = part.column;
    }
    result.worst_neuron = place;
    result.smallest_scale = smallest_scale_;
    result.largest_scale = largest_scale_;
  }

 private:
  void scale(StoredMatrix& part, Index k, double factor) {
    smallest_scale_ = std::min(smallest_scale_, std::abs(factor));
    largest_scale_ = std::max(largest_scale_, std::abs(factor));
    scales_are_exact_ = scales_are_exact_ && is_power_of_two(factor);
    if (factor != 1) scale_column(part, k, factor);
  }

  std::vector<Scalable> scalable_;
  EntrySums gate_;
  EntrySums up_;
  EntrySums down_;
  EntrySums gate_bias_;
  EntrySums up_bias_;
  double smallest_scale_ = 1;
  double largest_scale_ = 1;
  bool scales_are_exact_ = true;
};

template <class Visit>
void for_each_chunk(std::span<const Index> neurons, Index size, Visit visit) {
  const auto most = static_cast<std::size_t>(size);
  for (std::size_t first = 0; first < neurons.size(); first += most)
    visit(first, neurons.subspan(first, std::min(most, neurons.size() - first)));
}

// Compares the listed neurons of both, one to one.
NeuronSums compare_listed(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b,
                          std::span<const Index> of_a, std::span<const Index> of_b, const MlpRules& rules) {
  NeuronSums sums(config, rules);
  for_each_chunk(of_a, std::max(a.at_once, b.at_once), [&](std::size_t first, std::span<const Index> chunk) {
    sums.add(a.neurons->read(chunk), b.neurons->read(of_b.subspan(first, chunk.size())));
  });
  return sums;
}

StoredMatrix or_zero(const StoredMatrix& bias, Index width) {
  if (bias.value.size() > 0) return bias;
  return {Matrix<double>::Zero(1, width), Matrix<double>::Zero(1, width)};
}

EntryComparison compare_constants(const SeenMlp& a, const SeenMlp& b, Index width, const EntryRules& rules) {
  return compare_entries(or_zero(a.bias, width), or_zero(b.bias, width), rules);
}

}  // namespace

bool is_live(const MlpConfig& config, const StoredNeurons& neurons, Index k) {
  const auto acts = [&](const StoredMatrix& part) { return (part.value.col(k).array() != 0).any(); };
  return (!config.gated || acts(neurons.up)) && acts(neurons.down);
}

MlpComparison compare_matched_mlps(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b,
                                   const std::vector<Index>& image, Index model_width,
                                   const MlpRules& rules) {
  MlpComparison result{
      .neurons = {}, .constant = compare_constants(a, b, model_width, rules.biases), .image = image};
  std::vector<Index> of_a;
  std::vector<Index> of_b;
  for (std::size_t k = 0; k < image.size(); ++k) {
    if (image[k] < 0) continue;
    of_a.push_back(static_cast<Index>(k));
    of_b.push_back(image[k]);
  }
  std::vector<Index> sorted = of_b;
  std::ranges::sort(sorted);
  const bool is_matching = static_cast<Index>(image.size()) == a.neurons->count() &&
                           std::ranges::adjacent_find(sorted) == sorted.end() &&
                           (sorted.empty() || sorted.back() < b.neurons->count());
  // Whoever is left out must not put out anything.
  const auto others = [](const std::vector<Index>& listed, Index count) {
    std::vector<Index> rest;
    std::ranges::set_difference(consecutive(0, count), listed, std::back_inserter(rest));
    return rest;
  };
  const auto are_dead = [&](const SeenMlp& mlp, const std::vector<Index>& which) {
    bool dead = true;
    for_each_chunk(which, mlp.at_once, [&](std::size_t, std::span<const Index> chunk) {
      const StoredNeurons neurons = mlp.neurons->read(chunk);
      for (Index k = 0; k < count_of(neurons); ++k) dead &= !is_live(config, neurons, k);
    });
    return dead;
  };
  result.same_count = is_matching && are_dead(a, others(of_a, a.neurons->count())) &&
                      are_dead(b, others(sorted, b.neurons->count()));
  result.in_order = of_a == of_b;
  if (!result.same_count) return result;
  compare_listed(config, a, b, of_a, of_b, rules).write(result);
  if (result.worst_neuron >= 0) result.worst_neuron = of_b[static_cast<std::size_t>(result.worst_neuron)];
  return result;
}

EntryComparison compare_some_neurons(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b,
                                     std::span<const Index> of_a, std::span<const Index> of_b,
                                     const MlpRules& rules) {
  return compare_listed(config, a, b, of_a, of_b, rules).result();
}

}  // namespace attnsym
