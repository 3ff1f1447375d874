#pragma once

#include "verify/models/decide_models.hpp"
#include "verify/models/seen_model.hpp"

namespace attnsym {

/// A rotation that was found from few rows of coarse numbers is not exact enough for the rest of a model.
/// What was matched by it tells more: rows of tables, what neurons read and write, and the heads of modules
/// that agree all turn with the stream. Returns the rotation that fits these best.
/// @param decision  about A and B, by an orthogonal stream
StreamTransport refine_stream(const SeenModel& a, const SeenModel& b, const ModelDecision& decision);

/// Evenly spaced rows of all tables, as many as are asked for or there are.
StoredMatrix sampled_rows(const SeenModel& model, Index wanted);

}  // namespace attnsym
