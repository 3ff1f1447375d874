#include "verify/models/neurons.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "symmetry/random.hpp"
#include "verify/models/stored_algebra.hpp"

namespace attnsym {
namespace {

constexpr std::uint64_t probe_salt = 0x6e6575726f6e;

// Neurons as columns: what they read, biases as the last row, and what they write.
struct Neurons {
  StoredMatrix gate;  // empty unless gated
  StoredMatrix up;
  StoredMatrix down;  // D x m

  Index count() const { return up.value.cols(); }
};

StoredMatrix with_bias_row(const StoredMatrix& weight, const StoredMatrix& bias) {
  if (weight.value.size() == 0) return weight;
  const Index rows = weight.value.rows();
  const Index cols = weight.value.cols();
  StoredMatrix result{Matrix<double>::Zero(rows + 1, cols), Matrix<double>::Zero(rows + 1, cols)};
  result.value.topRows(rows) = weight.value;
  result.radius.topRows(rows) = weight.radius;
  if (bias.value.size() > 0) {
    result.value.row(rows) = bias.value.row(0);
    result.radius.row(rows) = bias.radius.row(0);
  }
  return result;
}

StoredMatrix columns_of(const StoredMatrix& matrix, const std::vector<Index>& columns) {
  if (matrix.value.size() == 0) return matrix;
  return {matrix.value(Eigen::all, columns), matrix.radius(Eigen::all, columns)};
}

Neurons columns_of(const Neurons& neurons, const std::vector<Index>& columns) {
  return {columns_of(neurons.gate, columns), columns_of(neurons.up, columns),
          columns_of(neurons.down, columns)};
}

// All neurons that can put out something.
Neurons live_neurons(const MlpConfig& config, const SeenMlp& mlp) {
  const Neurons all{with_bias_row(mlp.gate, mlp.gate_bias),
                    with_bias_row(mlp.up, mlp.up_bias),
                    {mlp.down.value.transpose(), mlp.down.radius.transpose()}};
  std::vector<Index> live;
  for (Index k = 0; k < all.count(); ++k) {
    const bool is_read = !config.gated || !all.up.value.col(k).isZero(0);
    if (is_read && !all.down.value.col(k).isZero(0)) live.push_back(k);
  }
  if (static_cast<Index>(live.size()) == all.count()) return all;
  return columns_of(all, live);
}

double norm_or_one(const Matrix<double>& matrix, Index column) {
  const double norm = matrix.col(column).norm();
  return norm > 0 ? norm : 1;
}

void scale_column(StoredMatrix& matrix, Index column, double factor) {
  matrix.value.col(column) *= factor;
  matrix.radius.col(column) *= std::abs(factor);
}

// Columns k of what the activation is applied to have length 1, where it lets positive scales through.
void normalize(const MlpConfig& config, Neurons& neurons) {
  if (config.activation != Activation::Relu) return;
  StoredMatrix& read = config.gated ? neurons.gate : neurons.up;
  for (Index k = 0; k < neurons.count(); ++k) {
    const double length = norm_or_one(read.value, k);
    scale_column(read, k, 1 / length);
    scale_column(neurons.down, k, length);
  }
}

// Squared difference of two columns in units of its variance. @param scale  of a's column
double distance(const StoredMatrix& a, Index k, double scale, const StoredMatrix& b, Index l) {
  const double squares = (scale * a.value.col(k) - b.value.col(l)).squaredNorm();
  if (squares == 0) return 0;
  return squares * 3 / (scale * scale * a.radius.col(k).squaredNorm() + b.radius.col(l).squaredNorm());
}

// What gated neuron k of a has to be multiplied by to become neuron l of b.
double fitted_scale(const Neurons& a, Index k, const Neurons& b, Index l) {
  if (a.gate.value.size() == 0) return 1;
  const double square = a.up.value.col(k).squaredNorm();
  const double scale = square > 0 ? a.up.value.col(k).dot(b.up.value.col(l)) / square : 1;
  return scale != 0 && std::isfinite(scale) ? scale : 1;
}

double neuron_distance(const Neurons& a, Index k, const Neurons& b, Index l) {
  const double scale = fitted_scale(a, k, b, l);
  const double gates = a.gate.value.size() > 0 ? distance(a.gate, k, 1, b.gate, l) : 0;
  return gates + distance(a.up, k, scale, b.up, l) + distance(a.down, k, 1 / scale, b.down, l);
}

// For every neuron of a the nearest of b that no other has taken. @pre as many
std::vector<Index> matched(const Neurons& a, const Neurons& b) {
  const StoredMatrix& read_a = a.gate.value.size() > 0 ? a.gate : a.up;
  const StoredMatrix& read_b = a.gate.value.size() > 0 ? b.gate : b.up;
  const RowVector<double> probe = fixed_probe<double>(1, read_a.value.rows(), probe_salt);
  const auto number_of = [&](const StoredMatrix& read) { return RowVector<double>(probe * read.value); };
  const auto noise_of = [&](const StoredMatrix& read) {
    return RowVector<double>((probe.cwiseAbs2() * read.radius.cwiseAbs2() / 3).cwiseSqrt());
  };
  const RowVector<double> number_a = number_of(read_a);
  const RowVector<double> number_b = number_of(read_b);
  const RowVector<double> noise_a = noise_of(read_a);
  const RowVector<double> noise_b = noise_of(read_b);
  const double widest = noise_b.maxCoeff();
  std::vector<Index> order(static_cast<std::size_t>(b.count()));
  std::iota(order.begin(), order.end(), Index{0});
  std::ranges::sort(order, {}, [&](Index l) { return number_b(l); });
  std::vector<char> used(order.size());
  std::vector<Index> image(order.size(), -1);
  for (Index k = 0; k < a.count(); ++k) {
    const double reach = 8 * std::hypot(noise_a(k), widest) + 1e-9 * std::abs(number_a(k));
    auto at = std::ranges::lower_bound(order, number_a(k) - reach, {}, [&](Index l) { return number_b(l); });
    double best = std::numeric_limits<double>::infinity();
    for (; at != order.end() && number_b(*at) <= number_a(k) + reach; ++at) {
      if (used[static_cast<std::size_t>(*at)]) continue;
      const double d = neuron_distance(a, k, b, *at);
      if (!(d < best)) continue;
      best = d;
      image[static_cast<std::size_t>(k)] = *at;
    }
    if (image[static_cast<std::size_t>(k)] >= 0)
      used[static_cast<std::size_t>(image[static_cast<std::size_t>(k)])] = 1;
  }
  // What found nobody is compared with what is left over.
  auto free = used.begin();
  for (Index& l : image) {
    if (l >= 0) continue;
    free = std::find(free, used.end(), char{0});
    l = free - used.begin();
    *free++ = 1;
  }
  return image;
}

// Compares the neurons as they are matched, a's scaled as b's are.
void compare_matched(Neurons a, const Neurons& b, const std::vector<Index>& image, Index inner_width,
                     MlpComparison& result) {
  const Neurons of_b = columns_of(b, image);
  for (Index k = 0; k < a.count(); ++k) {
    const double scale = fitted_scale(a, k, of_b, k);
    result.smallest_scale = std::min(result.smallest_scale, std::abs(scale));
    result.largest_scale = std::max(result.largest_scale, std::abs(scale));
    scale_column(a.up, k, scale);
    scale_column(a.down, k, 1 / scale);
  }
  result.neurons = worse(compare_entries(a.up, of_b.up, inner_width),
                         worse(compare_entries(a.gate, of_b.gate, inner_width),
                               compare_entries(a.down, of_b.down, inner_width)));
  const Index worst = result.neurons.column;
  result.worst_neuron = worst < 0 ? -1 : image[static_cast<std::size_t>(worst)];
}

}  // namespace

MlpComparison compare_mlps(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b, Index inner_width) {
  MlpComparison result;
  const auto or_zero = [&](const StoredMatrix& bias) {
    const Index width = a.down.value.cols();
    return bias.value.size() > 0
               ? bias
               : StoredMatrix{Matrix<double>::Zero(1, width), Matrix<double>::Zero(1, width)};
  };
  result.constant = compare_entries(or_zero(a.down_bias), or_zero(b.down_bias), inner_width);
  Neurons of_a = live_neurons(config, a);
  Neurons of_b = live_neurons(config, b);
  result.same_count = of_a.count() == of_b.count();
  if (!result.same_count || of_a.count() == 0) return result;
  normalize(config, of_a);
  normalize(config, of_b);
  std::vector<Index> image(static_cast<std::size_t>(of_a.count()));
  std::iota(image.begin(), image.end(), Index{0});
  compare_matched(of_a, of_b, image, inner_width, result);
  if (result.neurons.agrees()) return result;
  MlpComparison permuted{.neurons = {}, .constant = result.constant, .in_order = false};
  compare_matched(of_a, of_b, matched(of_a, of_b), inner_width, permuted);
  // NaN stays.
  return permuted.neurons.ratio < result.neurons.ratio ? permuted : result;
}

}  // namespace attnsym
