#pragma once

#include "symmetry/attention_weights.hpp"

namespace attnsym::bench {

/// The attention of one BERT layer with all biases: heads of equal width, no groups shared.
AttentionConfig bert_config(Index model_width, Index heads);

/// Independent normal entries.
AttentionWeights<double> random_weights(const AttentionConfig& config);

Matrix<double> random_matrix(Index rows, Index cols);

}  // namespace attnsym::bench
