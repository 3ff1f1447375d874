#pragma once

#include <string>
#include <vector>

#include "symmetry/gauge_blocks.hpp"

namespace attnsym {

/// "GL(64)" or, where positions turn keys, "(C^x)^32", "(C^x)^16 x GL(32)", ...; "O(64)", "U(1)^32" for
/// isometries.
std::string describe_gauges(const std::vector<GaugeBlock>& blocks, bool isometries);

}  // namespace attnsym
