#pragma once

#include <vector>

#include "symmetry/circuits.hpp"
#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// A circuit of stored weights: 2^exponent value.left value.right^T, and with every entry of the factors the
/// largest error that rounding may have left in it [N7]. The factors are scaled by powers of two to entries
/// below 1 in size, which changes no digit, so that squares and products of any finite weights stay in range.
struct StoredCircuit {
  Circuit<double> value;
  Circuit<double> radius;
  int exponent = 0;
};

/// M_i with its scale s, for modules without rotary positions, softcap and sinks; stored_scores has the
/// general case. @pre all biases present or absent alike, see with_all_biases.
StoredCircuit stored_qk_circuit(const StoredAttention& module, Index head);

/// N_i, (D+1) x D: the last row, of the value bias, is zero but beside sinks.
StoredCircuit stored_vo_circuit(const StoredAttention& module, Index head);

/// The sum of N_i over some heads, (D+1) x D, zero for none. Heads with the same stored values are added up
/// at their outputs, because they share the rounding errors of the values.
StoredCircuit stored_vo_sum(const StoredAttention& module, const std::vector<Index>& heads);

/// The same circuit with its left factor rescaled to another exponent.
StoredCircuit at_exponent(StoredCircuit circuit, int exponent);

/// The factors alone, brought to one exponent with others; entries may be large or vanish.
Circuit<double> value_at_exponent(const StoredCircuit& circuit, int exponent);

/// The circuit of no head.
StoredCircuit zero_circuit(Index rows, Index columns);

/// Factors scaled to entries below 1. The exponent of a zero circuit is far below that of any other.
StoredCircuit normalized(Circuit<double> value, Circuit<double> radius);

/// Frobenius norm in units of 2^exponent.
double scaled_norm(const StoredCircuit& circuit);

/// @throws ShapeError if the model widths differ, if only one of them has centred inputs, or if weights or
/// radii do not fit their config, FormatError on a non-finite weight
void require_comparable(const StoredAttention& a, const StoredAttention& b);

/// Missing biases filled in as exact zeros, which changes no function, so that modules with and without them
/// compare.
StoredAttention with_all_biases(StoredAttention module);

/// Every coordinate of the values of a gated module as a head of its own, of value width 1: head i,
/// coordinate k becomes head i dv + k. Computes the same. Modules without gates stay as they are.
StoredAttention with_coordinates_written_out(const StoredAttention& module);

/// With all biases, with Q, K and V as their inputs see them, centred where those are, and with gated
/// coordinates written out. Comparing circuits is about these; radii are what variances need. Exact
/// transports and witnesses are about the stored numbers.
StoredAttention as_seen(StoredAttention module);

}  // namespace attnsym
