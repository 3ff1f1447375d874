#pragma once

namespace attnsym {

/// Which powers of two a binary format reaches: its numbers are multiples of 2^lowest below 2^(highest + 1).
struct ExponentRange {
  int lowest;
  int highest;
};

}  // namespace attnsym
