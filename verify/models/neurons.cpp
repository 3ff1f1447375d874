#include "verify/models/neurons.hpp"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "symmetry/random.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t probe_salt = 0x6e6575726f6e;
constexpr Index chunk_neurons = 128;  // two chunks of a model of width 2048 fit into a processor's caches

// What neurons read, (D + 1) x m with biases as the last row, and what they write.
struct Neurons {
  StoredMatrix gate;  // empty unless gated
  StoredMatrix up;
  StoredMatrix down;  // m x D

  Index count() const { return up.value.cols(); }

  // What the activation is applied to.
  StoredMatrix& read() { return gate.value.size() > 0 ? gate : up; }
  const StoredMatrix& read() const { return gate.value.size() > 0 ? gate : up; }
};

StoredMatrix with_bias_row(StoredMatrix weight, const StoredMatrix& bias) {
  if (weight.value.size() == 0) return weight;
  const Index rows = weight.value.rows();
  for (Matrix<double>* matrix : {&weight.value, &weight.radius}) {
    matrix->conservativeResize(rows + 1, Eigen::NoChange);
    matrix->row(rows).setZero();
  }
  if (bias.value.size() == 0) return weight;
  weight.value.row(rows) = bias.value.row(0);
  weight.radius.row(rows) = bias.radius.row(0);
  return weight;
}

void scale_column(StoredMatrix& matrix, Index column, double factor) {
  matrix.value.col(column) *= factor;
  matrix.radius.col(column) *= std::abs(factor);
}

// Column by column, as the numbers lie in memory.
void scale_rows(StoredMatrix& matrix, const Eigen::VectorXd& factors) {
  const Eigen::ArrayXd sizes = factors.cwiseAbs().array();
  for (Index k = 0; k < matrix.value.cols(); ++k) {
    matrix.value.col(k).array() *= factors.array();
    matrix.radius.col(k).array() *= sizes;
  }
}

// What neurons read as their up part, and what they write against it.
void scale(Neurons& neurons, const Eigen::VectorXd& factors) {
  for (Index k = 0; k < factors.size(); ++k) scale_column(neurons.up, k, factors(k));
  scale_rows(neurons.down, factors.cwiseInverse());
}

// Where the activation lets positive scales through, what it is applied to gets length 1.
void normalize(const MlpConfig& config, Neurons& neurons) {
  if (config.activation != Activation::Relu) return;
  StoredMatrix& read = neurons.read();
  Eigen::VectorXd lengths = read.value.colwise().norm().transpose();
  for (double& length : lengths) length = length > 0 ? length : 1;
  for (Index k = 0; k < neurons.count(); ++k) scale_column(read, k, 1 / lengths(k));
  scale_rows(neurons.down, lengths);
}

Neurons neurons_of(const MlpConfig& config, SeenMlp mlp) {
  Neurons neurons{with_bias_row(std::move(mlp.gate), mlp.gate_bias),
                  with_bias_row(std::move(mlp.up), mlp.up_bias), std::move(mlp.down)};
  normalize(config, neurons);
  return neurons;
}

// Whether a neuron can put out something.
bool is_live(const MlpConfig& config, const Neurons& neurons, Index k) {
  const bool is_read = !config.gated || !neurons.up.value.col(k).isZero(0);
  return is_read && !neurons.down.value.row(k).isZero(0);
}

// What gated neuron k of a has to be multiplied by to become neuron k of b.
double fitted_scale(const Neurons& a, const Neurons& b, Index k) {
  if (a.gate.value.size() == 0) return 1;
  const double square = a.up.value.col(k).squaredNorm();
  const double scale = square > 0 ? a.up.value.col(k).dot(b.up.value.col(k)) / square : 1;
  return scale != 0 && std::isfinite(scale) ? scale : 1;
}

// Adds up the comparison of neurons that come in chunks.
class NeuronSums {
 public:
  void add(Neurons a, const Neurons& b) {
    Eigen::VectorXd scales(a.count());
    for (Index k = 0; k < a.count(); ++k) scales(k) = fitted_scale(a, b, k);
    smallest_scale_ = std::min(smallest_scale_, scales.cwiseAbs().minCoeff());
    largest_scale_ = std::max(largest_scale_, scales.cwiseAbs().maxCoeff());
    if (!scales.isOnes(0)) scale(a, scales);
    gate_.add(a.gate, b.gate);
    up_.add(a.up, b.up);
    down_.add(a.down, b.down);
  }

  EntryComparison so_far(Index inner_width) const {
    return worse(gate_.result(inner_width), worse(up_.result(inner_width), down_.result(inner_width)));
  }

  void write(MlpComparison& result, Index inner_width) const {
    result.neurons = so_far(inner_width);
    const EntryComparison down = down_.result(inner_width);
    const EntryComparison read = worse(gate_.result(inner_width), up_.result(inner_width));
    result.worst_neuron = read.column_ratio > down.row_ratio ? read.column : down.row;
    result.smallest_scale = smallest_scale_;
    result.largest_scale = largest_scale_;
  }

 private:
  EntrySums gate_{EntrySums::Chunks::Columns};
  EntrySums up_{EntrySums::Chunks::Columns};
  EntrySums down_{EntrySums::Chunks::Rows};
  double smallest_scale_ = 1;
  double largest_scale_ = 1;
};

template <class Visit>
void for_each_chunk(const std::vector<Index>& neurons, Visit visit) {
  const std::span<const Index> all(neurons);
  for (std::size_t first = 0; first < all.size(); first += chunk_neurons)
    visit(first, all.subspan(first, std::min<std::size_t>(chunk_neurons, all.size() - first)));
}

// Compares the listed neurons of both, one to one.
NeuronSums compare_listed(const MlpConfig& config, const NeuronSource& a, const NeuronSource& b,
                          const std::vector<Index>& of_a, const std::vector<Index>& of_b) {
  NeuronSums sums;
  for_each_chunk(of_a, [&](std::size_t first, std::span<const Index> chunk) {
    const std::span<const Index> others = std::span(of_b).subspan(first, chunk.size());
    sums.add(neurons_of(config, a.read(chunk)), neurons_of(config, b.read(others)));
  });
  return sums;
}

// Numbers of every neuron that can put out something: no scale that the activation allows changes them, and
// neurons that are equal up to rounding have equal ones up to noise.
struct Fingerprints {
  static constexpr Index read_probes = 4;

  std::vector<Index> live;  // the neurons
  Matrix<double> number;    // (read_probes + 1) x live: of what they read; the last of what they do with it
  Matrix<double> noise;     // standard deviations

  Fingerprints(const MlpConfig& config, const NeuronSource& source)
      : number(read_probes + 1, source.count), noise(read_probes + 1, source.count) {
    for_each_chunk(consecutive(0, source.count), [&](std::size_t, std::span<const Index> chunk) {
      add(config, neurons_of(config, source.read(chunk)), chunk);
    });
  }

 private:
  void add(const MlpConfig& config, const Neurons& neurons, std::span<const Index> which) {
    const auto probed = [](const StoredMatrix& matrix, Index probes) {
      const Matrix<double> probe = fixed_probe<double>(probes, matrix.value.rows(), probe_salt);
      return std::pair(Matrix<double>(probe * matrix.value),
                       Matrix<double>(probe.cwiseAbs2() * matrix.radius.cwiseAbs2() / 3));
    };
    const auto read = probed(neurons.read(), read_probes);
    const auto up = probed(neurons.up, 1);
    const Matrix<double> probe = fixed_probe<double>(neurons.down.value.cols(), 1, probe_salt);
    const Eigen::VectorXd down = neurons.down.value * probe;
    const Eigen::VectorXd down_variances = neurons.down.radius.cwiseAbs2() * probe.cwiseAbs2() / 3;
    for (Index k = 0; k < neurons.count(); ++k) {
      if (!is_live(config, neurons, k)) continue;
      const auto place = static_cast<Index>(live.size());
      live.push_back(which[static_cast<std::size_t>(k)]);
      number.col(place).head(read_probes) = read.first.col(k);
      noise.col(place).head(read_probes) = read.second.col(k).cwiseSqrt();
      const double u = config.gated ? up.first(0, k) : 1;
      const double d = down(k);
      const double u_variance = config.gated ? up.second(0, k) : 0;
      number(read_probes, place) = u * d;
      noise(read_probes, place) = std::sqrt(u_variance * d * d + u * u * down_variances(k));
    }
  }
};

// For every live neuron of a the nearest of b, by fingerprints, that no other has taken; -1 where none is
// near.
std::vector<Index> matched(const Fingerprints& a, const Fingerprints& b) {
  std::vector<Index> order(b.live.size());
  std::iota(order.begin(), order.end(), Index{0});
  const auto first_number = [&](Index l) { return b.number(0, l); };
  std::ranges::sort(order, {}, first_number);
  const auto count = static_cast<Index>(b.live.size());
  const double widest = count > 0 ? b.noise.row(0).head(count).maxCoeff() : 0;
  std::vector<char> used(order.size());
  std::vector<Index> image(a.live.size(), -1);
  for (std::size_t k = 0; k < image.size(); ++k) {
    const auto number = a.number.col(static_cast<Index>(k));
    const auto noise = a.noise.col(static_cast<Index>(k));
    const double reach = 8 * std::hypot(noise(0), widest) + 1e-9 * std::abs(number(0));
    auto at = std::ranges::lower_bound(order, number(0) - reach, {}, first_number);
    double best = std::numeric_limits<double>::infinity();
    for (; at != order.end() && first_number(*at) <= number(0) + reach; ++at) {
      if (used[static_cast<std::size_t>(*at)]) continue;
      const auto variances = noise.cwiseAbs2() + b.noise.col(*at).cwiseAbs2();
      const auto rounding = 1e-24 * number.cwiseAbs2();
      const double apart =
          ((number - b.number.col(*at)).cwiseAbs2().array() / (variances + rounding).array().max(1e-300))
              .maxCoeff();
      if (!(apart < best)) continue;
      best = apart;
      image[k] = *at;
    }
    if (image[k] >= 0) used[static_cast<std::size_t>(image[k])] = 1;
  }
  return image;
}

// What found nobody is compared with what is left over.
void fill_up(std::vector<Index>& image) {
  std::vector<char> used(image.size());
  for (const Index l : image) {
    if (l >= 0) used[static_cast<std::size_t>(l)] = 1;
  }
  auto free = used.begin();
  for (Index& l : image) {
    if (l >= 0) continue;
    free = std::find(free, used.end(), char{0});
    l = free - used.begin();
    *free++ = 1;
  }
}

StoredMatrix or_zero(const StoredMatrix& bias, Index width) {
  if (bias.value.size() > 0) return bias;
  return {Matrix<double>::Zero(1, width), Matrix<double>::Zero(1, width)};
}

// In the files' own order, which costs least; given up at the first chunk that is clearly another.
std::optional<NeuronSums> compare_in_order(const MlpConfig& config, const NeuronSource& a,
                                           const NeuronSource& b, Index inner_width) {
  if (a.count != b.count) return std::nullopt;
  const std::vector<Index> few = consecutive(0, std::min<Index>(16, a.count));
  const EntryComparison start = compare_listed(config, a, b, few, few).so_far(inner_width);
  constexpr double hopeless = 100;
  if (!(start.ratio <= hopeless * start.limit)) return std::nullopt;
  const std::vector<Index> all = consecutive(0, a.count);
  return compare_listed(config, a, b, all, all);
}

EntryComparison compare_constants(const NeuronSource& a, const NeuronSource& b, Index width) {
  return compare_entries(or_zero(a.read({}).down_bias, width), or_zero(b.read({}).down_bias, width), width);
}

}  // namespace

MlpComparison compare_mlps(const MlpConfig& config, const NeuronSource& a, const NeuronSource& b,
                           Index inner_width) {
  MlpComparison result;
  result.constant = compare_constants(a, b, inner_width);
  if (const auto in_order = compare_in_order(config, a, b, inner_width)) {
    in_order->write(result, inner_width);
    result.image = consecutive(0, a.count);
    if (result.neurons.agrees()) return result;
  }
  const Fingerprints of_a(config, a);
  const Fingerprints of_b(config, b);
  result.same_count = of_a.live.size() == of_b.live.size();
  if (!result.same_count) return result;
  std::vector<Index> image = matched(of_a, of_b);
  fill_up(image);
  for (Index& l : image) l = of_b.live[static_cast<std::size_t>(l)];
  MlpComparison permuted{.neurons = {}, .constant = result.constant, .in_order = false, .image = {}};
  compare_listed(config, a, b, of_a.live, image).write(permuted, inner_width);
  permuted.image.assign(static_cast<std::size_t>(a.count), -1);
  for (std::size_t k = 0; k < image.size(); ++k)
    permuted.image[static_cast<std::size_t>(of_a.live[k])] = image[k];
  if (permuted.worst_neuron >= 0)
    permuted.worst_neuron = image[static_cast<std::size_t>(permuted.worst_neuron)];
  const bool keeps_order = result.worst_neuron >= 0 && result.neurons.ratio <= permuted.neurons.ratio;
  return keeps_order ? result : permuted;
}

MlpComparison compare_matched_mlps(const MlpConfig& config, const NeuronSource& a, const NeuronSource& b,
                                   const std::vector<Index>& image, Index inner_width) {
  MlpComparison result{.neurons = {}, .constant = compare_constants(a, b, inner_width), .image = image};
  std::vector<Index> of_a;
  std::vector<Index> of_b;
  for (std::size_t k = 0; k < image.size(); ++k) {
    if (image[k] < 0) continue;
    of_a.push_back(static_cast<Index>(k));
    of_b.push_back(image[k]);
  }
  std::vector<Index> sorted = of_b;
  std::ranges::sort(sorted);
  const bool is_matching = static_cast<Index>(image.size()) == a.count &&
                           std::ranges::adjacent_find(sorted) == sorted.end() &&
                           (sorted.empty() || sorted.back() < b.count);
  // Whoever is left out must not put out anything.
  const auto others = [](const std::vector<Index>& listed, Index count) {
    std::vector<Index> rest;
    std::ranges::set_difference(consecutive(0, count), listed, std::back_inserter(rest));
    return rest;
  };
  const auto are_dead = [&](const NeuronSource& source, const std::vector<Index>& which) {
    bool dead = true;
    for_each_chunk(which, [&](std::size_t, std::span<const Index> chunk) {
      const Neurons neurons = neurons_of(config, source.read(chunk));
      for (Index k = 0; k < neurons.count(); ++k) dead &= !is_live(config, neurons, k);
    });
    return dead;
  };
  result.same_count =
      is_matching && are_dead(a, others(of_a, a.count)) && are_dead(b, others(sorted, b.count));
  if (result.same_count) compare_listed(config, a, b, of_a, of_b).write(result, inner_width);
  return result;
}

}  // namespace attnsym
