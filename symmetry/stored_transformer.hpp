#pragma once

#include "symmetry/transformer_weights.hpp"

namespace attnsym {

/// Rows of a table as somebody stored them, and for every number the largest error that rounding it may have
/// left (N7).
struct StoredMatrix {
  Matrix<double> value;
  Matrix<double> radius;
};

/// The same of a norm.
struct StoredNorm {
  Norm<double> value;
  Norm<double> radius;
};

/// The same of a transform and of a task.
struct StoredTransform {
  Transform<double> value;
  Transform<double> radius;
};
struct StoredTask {
  Task<double> value;
  Task<double> radius;
};

/// The same of an MLP.
struct StoredMlp {
  Mlp<double> value;
  Mlp<double> radius;
};

/// The same of a block.
struct StoredBlock {
  Block<double> value;
  Block<double> radius;
};

}  // namespace attnsym
