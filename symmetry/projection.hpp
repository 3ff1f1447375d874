#pragma once

namespace attnsym {

/// The four linear maps of an attention module, as files have them.
enum class Projection { Query, Key, Value, Output };

}  // namespace attnsym
