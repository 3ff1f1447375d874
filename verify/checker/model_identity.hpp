#pragma once

#include <optional>
#include <string>

#include "verify/checker/model_evidence.hpp"

namespace attnsym {

/// The reason why the stored numbers of B are not those of A, moved by a signed permutation of the stream,
/// exact gauges of attention and permutations of neurons, their scales powers of two; or nothing. Nothing is
/// folded: models that keep gains or biases elsewhere are equivalent, not identical [N12].
/// @pre refute_stream has nothing against the stream
std::optional<std::string> refute_model_identity(const StoredModel& a, const StoredModel& b,
                                                 const ModelEvidence& evidence, const RunTasks& run_tasks);

}  // namespace attnsym
