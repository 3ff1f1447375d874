#pragma once

#include <vector>

#include "verify/stored_scores.hpp"

namespace attnsym {

/// x_t^T C y_t for a few fixed pseudo-random x_t, y_t, and for scores a fixed combination of that over their
/// terms: a cheap hint at which circuits may be equal. It proposes, and decides nothing [N4].
struct Fingerprint {
  RowVector<double> probes;  ///< in units of 2^exponent
  int exponent = 0;
  double noise = 0;  ///< see note_noise, same units
};

std::vector<Fingerprint> qk_fingerprints(const StoredAttention& module);
std::vector<Fingerprint> vo_fingerprints(const StoredAttention& module);

/// Adds the rounding noise of a head's score and the error of computing its probes.
void note_noise(Fingerprint& print, const StoredScores& scores);

/// 0 for equal, about 1 for unrelated probes of any size.
double relative_distance(const Fingerprint& a, const Fingerprint& b);

/// False where the two circuits, with their noise noted, look as if they differed by more than `limit` times
/// their rounding noise, twice over. A difference along the fixed probes looks larger than it is, in D
/// dimensions up to D / 3 times: then circuits within rounding are refused, too, and stay apart.
bool may_agree(const Fingerprint& a, const Fingerprint& b, double limit);

}  // namespace attnsym
