#pragma once

#include "symmetry/projection.hpp"
#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// All heads of a projection side by side; biases are last rows, zero where there are none.
struct Projections {
  Matrix<double> query;   ///< (D+1) x h dk
  Matrix<double> key;     ///< (D+1) x g dk
  Matrix<double> value;   ///< (D+1) x g dv
  Matrix<double> output;  ///< D x h dv: the outputs O_i transposed

  Matrix<double>& at(Projection which);
};

/// Of all heads of a projection.
Index columns_of(Projection which, const AttentionConfig& config);

/// @pre all biases are there, see with_all_biases
Projections projections_of(const AttentionWeights<double>& weights, const AttentionConfig& config);

/// These weights with other projections.
AttentionWeights<double> with_projections(AttentionWeights<double> weights, const Projections& projections,
                                          const AttentionConfig& config);

/// The module after edit(Projections&) of its weights and likewise of their radii. The edit may move numbers,
/// not change them.
template <class Edit>
StoredAttention moved(StoredAttention module, Edit edit) {
  for (AttentionWeights<double>* weights : {&module.weights, &module.radius}) {
    Projections projections = projections_of(*weights, module.config);
    edit(projections);
    *weights = with_projections(std::move(*weights), projections, module.config);
  }
  return module;
}

}  // namespace attnsym
