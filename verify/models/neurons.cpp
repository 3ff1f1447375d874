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

Index count_of(const StoredNeurons& neurons) { return neurons.down.value.cols(); }

// What the activation is applied to.
const StoredMatrix& read_by(const StoredNeurons& neurons) {
  return neurons.gate.value.size() > 0 ? neurons.gate : neurons.up;
}

void scale_column(StoredMatrix& matrix, Index column, double factor) {
  matrix.value.col(column) *= factor;
  matrix.radius.col(column) *= std::abs(factor);
}

// Whether a neuron can put out something.
bool is_live(const MlpConfig& config, const StoredNeurons& neurons, Index k) {
  const auto acts = [&](const StoredMatrix& part) { return (part.value.col(k).array() != 0).any(); };
  return (!config.gated || acts(neurons.up)) && acts(neurons.down);
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

// Adds up the comparison of neurons that come in chunks.
class NeuronSums {
 public:
  explicit NeuronSums(const MlpConfig& config) : scalable_(scalable_parts(config)) {}

  // @param a  is scaled
  void add(StoredNeurons&& a, const StoredNeurons& b) {
    for (Index k = 0; !scalable_.empty() && k < count_of(a); ++k) {
      const std::vector<double> scales = fitted_scales(scalable_, a, b, k);
      for (std::size_t i = 0; i < scales.size(); ++i) scale(a.*scalable_[i].part, k, scales[i]);
    }
    gate_.add(a.gate, b.gate);
    up_.add(a.up, b.up);
    down_.add(a.down, b.down);
  }

  EntryComparison so_far(Index model_width) const {
    return worse(gate_.result(model_width), worse(up_.result(model_width), down_.result(model_width)));
  }

  void write(MlpComparison& result, Index model_width) const {
    result.neurons = so_far(model_width);
    const EntryComparison down = down_.result(model_width);
    const EntryComparison read = worse(gate_.result(model_width), up_.result(model_width));
    result.worst_neuron = read.column_ratio > down.column_ratio ? read.column : down.column;
    result.smallest_scale = smallest_scale_;
    result.largest_scale = largest_scale_;
  }

 private:
  void scale(StoredMatrix& part, Index k, double factor) {
    smallest_scale_ = std::min(smallest_scale_, std::abs(factor));
    largest_scale_ = std::max(largest_scale_, std::abs(factor));
    if (factor != 1) scale_column(part, k, factor);
  }

  std::vector<Scalable> scalable_;
  EntrySums gate_{EntrySums::Chunks::Columns};
  EntrySums up_{EntrySums::Chunks::Columns};
  EntrySums down_{EntrySums::Chunks::Columns};
  double smallest_scale_ = 1;
  double largest_scale_ = 1;
};

template <class Visit>
void for_each_chunk(std::span<const Index> neurons, Index size, Visit visit) {
  const auto most = static_cast<std::size_t>(size);
  for (std::size_t first = 0; first < neurons.size(); first += most)
    visit(first, neurons.subspan(first, std::min(most, neurons.size() - first)));
}

// Compares the listed neurons of both, one to one.
NeuronSums compare_listed(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b,
                          std::span<const Index> of_a, std::span<const Index> of_b) {
  NeuronSums sums(config);
  for_each_chunk(of_a, std::max(a.at_once, b.at_once), [&](std::size_t first, std::span<const Index> chunk) {
    sums.add(a.neurons->read(chunk), b.neurons->read(of_b.subspan(first, chunk.size())));
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

  Fingerprints(const MlpConfig& config, const SeenMlp& mlp, Index width)
      : number(read_probes + 1, mlp.neurons->count()),
        noise(read_probes + 1, mlp.neurons->count()),
        read_probe_(fixed_probe<double>(read_probes, width + 1, probe_salt)),
        up_probe_(fixed_probe<double>(1, width + 1, probe_salt)),
        down_probe_(fixed_probe<double>(1, width, probe_salt)) {
    const std::vector<Index> all = consecutive(0, mlp.neurons->count());
    for_each_chunk(all, mlp.at_once, [&](std::size_t, std::span<const Index> chunk) {
      add(config, mlp.neurons->read(chunk), chunk);
    });
  }

 private:
  struct Probed {
    Matrix<double> number;
    Matrix<double> variance;

    Probed(const Matrix<double>& probe, const StoredMatrix& columns)
        : number(probe * columns.value), variance(probe.cwiseAbs2() * columns.radius.cwiseAbs2() / 3) {}
  };

  void add(const MlpConfig& config, const StoredNeurons& neurons, std::span<const Index> which) {
    const Probed read(read_probe_, read_by(neurons));
    const Probed up(up_probe_, neurons.up);
    const Probed down(down_probe_, neurons.down);
    for (Index k = 0; k < count_of(neurons); ++k) {
      if (!is_live(config, neurons, k)) continue;
      const auto place = static_cast<Index>(live.size());
      live.push_back(which[static_cast<std::size_t>(k)]);
      const Length length = length_to_divide_by(config, read_by(neurons), k);
      const auto of_read = read.number.col(k) / length.value;
      number.col(place).head(read_probes) = of_read;
      noise.col(place).head(read_probes) =
          (read.variance.col(k) / (length.value * length.value) + of_read.cwiseAbs2() * length.variance)
              .cwiseSqrt();
      const double u = config.gated ? up.number(k) : 1;
      const double d = down.number(k) * length.value;
      const double u_variance = config.gated ? up.variance(k) : 0;
      const double d_variance = down.variance(k) * length.value * length.value + d * d * length.variance;
      number(read_probes, place) = u * d;
      noise(read_probes, place) = std::sqrt(u_variance * d * d + u * u * d_variance);
    }
  }

  struct Length {
    double value = 1;
    double variance = 0;  // of its relative error
  };

  // Where the activation lets positive scales through, what it is applied to counts as having length 1.
  static Length length_to_divide_by(const MlpConfig& config, const StoredMatrix& read, Index k) {
    if (config.activation != Activation::Relu) return {};
    const double square = read.value.col(k).squaredNorm();
    if (!(square > 0)) return {};
    const double spread = read.value.col(k).cwiseAbs2().dot(read.radius.col(k).cwiseAbs2()) / 3;
    return {std::sqrt(square), spread / (square * square)};
  }

  Matrix<double> read_probe_;
  Matrix<double> up_probe_;
  Matrix<double> down_probe_;
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
std::optional<NeuronSums> compare_in_order(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b,
                                           Index model_width) {
  if (a.neurons->count() != b.neurons->count()) return std::nullopt;
  const std::vector<Index> few = consecutive(0, std::min<Index>(16, a.neurons->count()));
  const EntryComparison start = compare_listed(config, a, b, few, few).so_far(model_width);
  constexpr double hopeless = 100;
  if (!(start.ratio <= hopeless * start.limit)) return std::nullopt;
  const std::vector<Index> all = consecutive(0, a.neurons->count());
  return compare_listed(config, a, b, all, all);
}

EntryComparison compare_constants(const SeenMlp& a, const SeenMlp& b, Index width) {
  return compare_entries(or_zero(a.bias, width), or_zero(b.bias, width), width);
}

}  // namespace

MlpComparison compare_mlps(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b, Index model_width) {
  MlpComparison result;
  result.constant = compare_constants(a, b, model_width);
  if (const auto in_order = compare_in_order(config, a, b, model_width)) {
    in_order->write(result, model_width);
    result.image = consecutive(0, a.neurons->count());
    if (result.neurons.agrees()) return result;
  }
  const Fingerprints of_a(config, a, model_width);
  const Fingerprints of_b(config, b, model_width);
  result.same_count = of_a.live.size() == of_b.live.size();
  if (!result.same_count) return result;
  std::vector<Index> image = matched(of_a, of_b);
  fill_up(image);
  for (Index& l : image) l = of_b.live[static_cast<std::size_t>(l)];
  MlpComparison permuted{.neurons = {}, .constant = result.constant, .in_order = false, .image = {}};
  compare_listed(config, a, b, of_a.live, image).write(permuted, model_width);
  permuted.image.assign(static_cast<std::size_t>(a.neurons->count()), -1);
  for (std::size_t k = 0; k < image.size(); ++k)
    permuted.image[static_cast<std::size_t>(of_a.live[k])] = image[k];
  if (permuted.worst_neuron >= 0)
    permuted.worst_neuron = image[static_cast<std::size_t>(permuted.worst_neuron)];
  const bool keeps_order = result.worst_neuron >= 0 && result.neurons.ratio <= permuted.neurons.ratio;
  return keeps_order ? result : permuted;
}

MlpComparison compare_matched_mlps(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b,
                                   const std::vector<Index>& image, Index model_width) {
  MlpComparison result{.neurons = {}, .constant = compare_constants(a, b, model_width), .image = image};
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
  if (result.same_count) compare_listed(config, a, b, of_a, of_b).write(result, model_width);
  return result;
}

}  // namespace attnsym
