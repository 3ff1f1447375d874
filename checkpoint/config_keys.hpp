#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/layout.hpp"

namespace attnsym {

/// Whether a key of config.json changes no output, whatever the family: how a model was made and trained,
/// what generation does with its outputs, what is printed beside them, and how fast they are computed.
bool is_neutral(std::string_view key);

/// @param document  the whole configuration
/// @param config  what the layout speaks of: the document, or a member of it
/// @throws FormatError naming a key that nobody has said to change nothing, if the layout has a list of those
/// that do not; also for keys that contradict each other. Keys that are null, {} or [] say nothing.
void require_understood(const JsonObject& document, const JsonObject& config, const Layout& layout);

}  // namespace attnsym
