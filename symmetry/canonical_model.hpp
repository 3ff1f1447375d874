#pragma once

#include <functional>

#include "symmetry/transformer_group.hpp"

namespace attnsym {

/// [N12] The move that brings neurons into canonical form: what a neuron reads and writes has one length
/// where scales are free, a fixed probe of its up part is positive where signs are, and neurons stand in
/// ascending order of a fixed probe of what their activation is applied to. Neurons whose probes are equal up
/// to rounding may come out in any order.
NeuronMove canonical_neurons(const MlpConfig& config, const Mlp<double>& mlp);

/// [N12] The move that brings the stream into canonical form, from the tables: where it may be rotated, the
/// principal axes of all rows that are written to the stream or read from it outside of blocks, longest
/// first; else coordinates in descending order of a fixed probe of these rows. Signs make probes positive.
/// Where tables have fewer rows than two per coordinate, what values and neurons make of these counts as
/// well.
/// @param outside  with folded gains where TransformerGroup::stream rotates
/// @param block  reads a block, likewise
StreamMove canonical_stream(const TransformerGroup& group, const TransformerWeights<double>& outside,
                            const std::function<Block<double>(Index layer)>& block);

/// Rows of the stream times the sum of all V O of a block, and times the sum of what its neurons would write
/// if they were linear: rows that change their basis with the stream, whatever else moves [N12]. 2 n x D
Matrix<double> passed_through(const MlpConfig& config, const Block<double>& block,
                              const Matrix<double>& rows);

/// Moves what all positions have in common to the embeddings, where the group allows it; with a class token
/// to the type of all others, and all of its own position to its type.
void gather_positions(const TransformerGroup& group, TransformerWeights<double>& outside);

}  // namespace attnsym
