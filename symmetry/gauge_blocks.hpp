#pragma once

#include <vector>

#include "symmetry/attention_config.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// Coordinates of a head that turn with one frequency, and with one beyond the length to which that holds. QK
/// gauges mix them with each other and with nothing else: a gauge has to commute with the rotation between
/// any two positions, so by Schur's lemma it is made of one matrix per block - real where the rotation is +1
/// or -1, complex elsewhere [N5].
struct GaugeBlock {
  double frequency = 0;          ///< in [0, pi]; 0 for coordinates that are not turned
  double beyond = 0;             ///< where Rotary::beyond holds, in (-pi, pi]; 0 where there is none
  std::vector<Index> real;       ///< all columns of a real block; the real parts of a complex one
  std::vector<Index> imaginary;  ///< the imaginary parts; empty for a real block
  std::vector<int> orientation;  ///< of every imaginary part: -1 where its pair turns backwards, else 1

  bool is_complex() const { return !imaginary.empty(); }

  /// Whether this is a complex block of one pair of coordinates, as most rotary blocks are.
  bool is_pair() const { return imaginary.size() == 1; }

  /// n of GL(n, R) or GL(n, C).
  Index size() const { return static_cast<Index>(real.size()); }

  /// n^2 or 2 n^2: the real dimension of that group.
  Index dimension() const { return (is_complex() ? 2 : 1) * size() * size(); }
};

/// The blocks of the key width, by ascending frequency; together they have every coordinate once. Frequencies
/// that agree modulo 2 pi and up to sign are one. Where longer sequences have others, both have to agree.
std::vector<GaugeBlock> gauge_blocks(const AttentionConfig& config);

/// All coordinates alike: GL(size, R).
GaugeBlock real_block(Index size);

/// The columns of a block, real parts and then imaginary ones, the latter times `orientation`; with
/// `turned` the same times i: -(imaginary parts) and then real ones.
template <Scalar S>
Matrix<S> block_columns(const Matrix<S>& matrix, const GaugeBlock& block, bool turned = false);

/// Whether a dk x dk matrix mixes coordinates inside blocks only, and commutes there with the rotation:
/// exactly over Rational, else up to tolerance<S>() * dk.
template <Scalar S>
bool commutes_with_positions(const Matrix<S>& matrix, const std::vector<GaugeBlock>& blocks);

/// Puts the matrix of every block into a dk x dk matrix: acting on rows by x -> x L^T, complex coordinates
/// move by z -> z (real + i imaginary)^T.
/// @param real, imaginary  n x n for every block; imaginary is ignored for real blocks
template <Scalar S>
void set_block(Matrix<S>& matrix, const GaugeBlock& block, const Matrix<S>& real, const Matrix<S>& imaginary);

/// Whether the key bias of a block adds the same to all logits of a query, which softmax ignores. It does not
/// where keys are turned or normalised, where logits are bounded by a softcap, or beside a sink [N5].
bool key_bias_is_free(const AttentionConfig& config, const GaugeBlock& block);

/// Of every coordinate, whether the module has a key bias there that is free.
std::vector<bool> free_key_biases(const AttentionConfig& config);

/// What rotary positions multiply the coordinates of a block by beside turning them: their gain, or 1.
double position_gain(const AttentionConfig& config, const GaugeBlock& block);

/// Whether the key bias of any block counts.
bool key_bias_counts(const AttentionConfig& config);

/// Whether value biases can move into an output bias: attention weights sum to one, unless there is a
/// sink, and nothing comes between, as a gate would [N5].
bool value_bias_is_free(const AttentionConfig& config);

}  // namespace attnsym
