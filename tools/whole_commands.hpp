#pragma once

#include <cstdint>

#include "tools/exit_status.hpp"
#include "tools/rewrite_whole.hpp"

namespace attnsym {

/// `act --scope model`: writes the whole model moved by a random element of its group.
ExitStatus act_on_whole(const RewriteOptions& options, const Model& model, std::uint64_t seed,
                        const TransformerSampleOptions& sample);

/// `canonicalize --scope model`, or of the neurons of all MLPs only, `--scope mlp`.
ExitStatus canonicalize_whole(const RewriteOptions& options, const Model& model, bool neurons_only);

}  // namespace attnsym
