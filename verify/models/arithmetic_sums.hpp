#pragma once

#include "symmetry/transformer_group.hpp"

namespace attnsym {

/// How many numbers tools that change the basis of a whole model add up for each that they store, see
/// arithmetic_allowance. One rule for both answers: what these sums may have done is allowed to models that
/// are equal, and has to be beaten by tokens that tell models apart [N7].
struct ArithmeticSums {
  Index weights = 1;      ///< a folded gain is one product; a rotation of the stream adds up D of them
  Index read_biases = 1;  ///< of neurons: where norms have biases, D products of these are folded in
  Index attention = 1;    ///< gauges add up as many as a head is wide
};

/// What a rotation of the stream counts: it has condition 1 and needs no inverse, so that a quarter of the
/// allowance for gauges is enough, a sixteenth of the width.
Index rotation_sums(Index model_width);

/// The most that any change of basis of models of this config asks for.
ArithmeticSums sums_of(const TransformerConfig& config);

}  // namespace attnsym
