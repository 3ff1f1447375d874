#include "symmetry/gauge_blocks.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <tuple>
#include <utility>

namespace attnsym {
namespace {

constexpr double pi = std::numbers::pi;

// The same turn at every whole position, in (-pi, pi].
double principal(double frequency) {
  const double turn = std::remainder(frequency, 2 * pi);
  return turn == -pi ? pi : turn;
}

// Whether the rotation by this turn is +1 or -1.
bool is_still(double turn) { return turn == 0 || turn == pi; }

// How a pair turns: in sequences up to the length of Rotary::beyond, and in longer ones.
struct Turns {
  double first = 0;
  double beyond = 0;
  int orientation = 1;

  Turns(double frequency, double later) : first(principal(frequency)), beyond(principal(later)) {
    const double leading = is_still(first) ? beyond : first;
    if (is_still(leading) || leading > 0) return;
    orientation = -1;
    first = is_still(first) ? first : -first;
    beyond = is_still(beyond) ? beyond : -beyond;
  }

  bool is_real() const { return is_still(first) && is_still(beyond); }
};

}  // namespace

std::vector<GaugeBlock> gauge_blocks(const AttentionConfig& config) {
  const Rotary& rotary = config.rotary;
  std::map<std::pair<double, double>, GaugeBlock> blocks;
  for (Index pair = 0; pair < rotary.pairs(); ++pair) {
    const Turns turns(rotary.frequencies[pair], rotary.beyond ? rotary.beyond->frequencies[pair] : 0);
    const auto [first, second] = rotary.columns(pair);
    GaugeBlock& block = blocks[{turns.first, turns.beyond}];
    block.real.push_back(first);
    if (turns.is_real()) {
      block.real.push_back(second);
    } else {
      block.imaginary.push_back(second);
      block.orientation.push_back(turns.orientation);
    }
  }
  for (Index column = 2 * rotary.pairs(); column < config.key_width; ++column)
    blocks[{0, 0}].real.push_back(column);
  std::vector<GaugeBlock> result;
  for (auto& [turns, block] : blocks) {
    std::tie(block.frequency, block.beyond) = turns;
    result.push_back(std::move(block));
  }
  return result;
}

GaugeBlock real_block(Index size) {
  GaugeBlock block;
  for (Index column = 0; column < size; ++column) block.real.push_back(column);
  return block;
}

template <Scalar S>
Matrix<S> block_columns(const Matrix<S>& matrix, const GaugeBlock& block, bool turned) {
  const Index n = block.size();
  if (!block.is_complex() && n == matrix.cols()) return matrix;  // all columns, in order
  Matrix<S> columns(matrix.rows(), block.is_complex() ? 2 * n : n);
  for (Index k = 0; k < n; ++k) {
    if (!block.is_complex()) {
      columns.col(k) = matrix.col(block.real[k]);
      continue;
    }
    columns.col(turned ? n + k : k) = matrix.col(block.real[k]);
    columns.col(turned ? k : n + k) =
        S(turned ? -block.orientation[k] : block.orientation[k]) * matrix.col(block.imaginary[k]);
  }
  return columns;
}

template <Scalar S>
void set_block(Matrix<S>& matrix, const GaugeBlock& block, const Matrix<S>& real,
               const Matrix<S>& imaginary) {
  for (Index k = 0; k < block.size(); ++k) {
    for (Index l = 0; l < block.size(); ++l) {
      matrix(block.real[k], block.real[l]) = real(k, l);
      if (!block.is_complex()) continue;
      const S from = S(block.orientation[l]);
      const S to = S(block.orientation[k]);
      matrix(block.real[k], block.imaginary[l]) = -from * imaginary(k, l);
      matrix(block.imaginary[k], block.real[l]) = to * imaginary(k, l);
      matrix(block.imaginary[k], block.imaginary[l]) = to * from * real(k, l);
    }
  }
}

template <Scalar S>
bool commutes_with_positions(const Matrix<S>& matrix, const std::vector<GaugeBlock>& blocks) {
  Matrix<S> made = Matrix<S>::Zero(matrix.rows(), matrix.cols());
  for (const GaugeBlock& block : blocks) {
    Matrix<S> real(block.size(), block.size());
    Matrix<S> imaginary = Matrix<S>::Zero(block.size(), block.size());
    for (Index k = 0; k < block.size(); ++k) {
      for (Index l = 0; l < block.size(); ++l) {
        real(k, l) = matrix(block.real[k], block.real[l]);
        if (block.is_complex())
          imaginary(k, l) = S(block.orientation[k]) * matrix(block.imaginary[k], block.real[l]);
      }
    }
    set_block(made, block, real, imaginary);
  }
  // Products of complex matrices are complex up to rounding.
  return is_close(made, matrix, static_cast<double>(matrix.cols()));
}

bool key_bias_is_free(const AttentionConfig& config, const GaugeBlock& block) {
  return block.frequency == 0 && block.beyond == 0 && config.softcap == 0 && !config.sinks && !config.qk_norm;
}

std::vector<bool> free_key_biases(const AttentionConfig& config) {
  std::vector<bool> free(static_cast<std::size_t>(config.key_width), false);
  for (const GaugeBlock& block : gauge_blocks(config)) {
    if (!config.key_bias || !key_bias_is_free(config, block)) continue;
    for (const Index column : block.real) free[column] = true;
  }
  return free;
}

double position_gain(const AttentionConfig& config, const GaugeBlock& block) {
  return block.frequency > 0 ? config.rotary.gain : 1;
}

bool key_bias_counts(const AttentionConfig& config) {
  if (!config.key_bias) return false;
  if (config.softcap != 0 || config.sinks || config.qk_norm) return true;
  const auto any_turns = [](const std::vector<double>& frequencies) {
    return std::any_of(frequencies.begin(), frequencies.end(),
                       [](double frequency) { return principal(frequency) != 0; });
  };
  const Rotary& rotary = config.rotary;
  return any_turns(rotary.frequencies) || (rotary.beyond && any_turns(rotary.beyond->frequencies));
}

bool value_bias_is_free(const AttentionConfig& config) {
  return config.value_bias && config.output_bias && !config.value_bias_counts();
}

template Matrix<float> block_columns(const Matrix<float>&, const GaugeBlock&, bool);
template Matrix<double> block_columns(const Matrix<double>&, const GaugeBlock&, bool);
template Matrix<Float50> block_columns(const Matrix<Float50>&, const GaugeBlock&, bool);
template Matrix<Rational> block_columns(const Matrix<Rational>&, const GaugeBlock&, bool);

template void set_block(Matrix<float>&, const GaugeBlock&, const Matrix<float>&, const Matrix<float>&);
template void set_block(Matrix<double>&, const GaugeBlock&, const Matrix<double>&, const Matrix<double>&);
template void set_block(Matrix<Float50>&, const GaugeBlock&, const Matrix<Float50>&, const Matrix<Float50>&);
template void set_block(Matrix<Rational>&, const GaugeBlock&, const Matrix<Rational>&,
                        const Matrix<Rational>&);

template bool commutes_with_positions(const Matrix<float>&, const std::vector<GaugeBlock>&);
template bool commutes_with_positions(const Matrix<double>&, const std::vector<GaugeBlock>&);
template bool commutes_with_positions(const Matrix<Float50>&, const std::vector<GaugeBlock>&);
template bool commutes_with_positions(const Matrix<Rational>&, const std::vector<GaugeBlock>&);

}  // namespace attnsym
