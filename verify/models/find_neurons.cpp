#include "verify/models/find_neurons.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "symmetry/matrix_products.hpp"
#include "symmetry/random.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t probe_salt = 0x6e6575726f6e;

Index count_of(const StoredNeurons& neurons) { return neurons.down.value.cols(); }

// What the activation is applied to.
const StoredMatrix& read_by(const StoredNeurons& neurons) {
  return neurons.gate.value.size() > 0 ? neurons.gate : neurons.up;
}

template <class Visit>
void for_each_chunk(std::span<const Index> neurons, Index size, Visit visit) {
  const auto most = static_cast<std::size_t>(size);
  for (std::size_t first = 0; first < neurons.size(); first += most)
    visit(neurons.subspan(first, std::min(most, neurons.size() - first)));
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
    for_each_chunk(all, mlp.at_once,
                   [&](std::span<const Index> chunk) { add(config, mlp.neurons->read(chunk), chunk); });
  }

 private:
  struct Probed {
    Matrix<double> number;
    Matrix<double> variance;

    Probed(const Matrix<double>& probe, const StoredMatrix& columns)
        : number(multiply(probe, columns.value)),
          variance(multiply(probe.cwiseAbs2(), columns.radius.cwiseAbs2()) / 3) {}
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

}  // namespace

std::optional<std::vector<Index>> match_neurons(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b,
                                                Index model_width) {
  const Fingerprints of_a(config, a, model_width);
  const Fingerprints of_b(config, b, model_width);
  if (of_a.live.size() != of_b.live.size()) return std::nullopt;
  std::vector<Index> places = matched(of_a, of_b);
  fill_up(places);
  std::vector<Index> image(static_cast<std::size_t>(a.neurons->count()), -1);
  for (std::size_t k = 0; k < places.size(); ++k)
    image[static_cast<std::size_t>(of_a.live[k])] = of_b.live[static_cast<std::size_t>(places[k])];
  return image;
}

MlpComparison compare_mlps(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b, Index model_width,
                           const MlpRules& rules) {
  const auto compare = [&](const std::vector<Index>& image) {
    return compare_matched_mlps(config, a, b, image, model_width, rules);
  };
  // The files' own order costs least; it is given up at the first neurons that are clearly others.
  std::optional<MlpComparison> in_order;
  if (a.neurons->count() == b.neurons->count()) {
    const std::vector<Index> few = consecutive(0, std::min<Index>(16, a.neurons->count()));
    const EntryComparison start = compare_some_neurons(config, a, b, few, few, rules);
    constexpr double hopeless = 100;
    if (start.ratio <= hopeless * start.limit) in_order = compare(consecutive(0, a.neurons->count()));
  }
  if (in_order && in_order->agrees()) return *in_order;
  const auto image = match_neurons(config, a, b, model_width);
  if (!image) {
    MlpComparison unequal;
    unequal.same_count = false;
    return unequal;
  }
  MlpComparison permuted = compare(*image);
  permuted.in_order = false;
  const bool keeps_order = in_order && in_order->neurons.ratio <= permuted.neurons.ratio;
  return keeps_order ? *in_order : permuted;
}

}  // namespace attnsym
