#pragma once

#include <limits>
#include <string>
#include <vector>

#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// One arithmetic and the residual that a claimed identity leaves in it.
struct Rung {
  std::string arithmetic;  ///< "float", "double", "50 digits", "100 digits"
  double unit = 0;         ///< unit roundoff
  double residual = 0;     ///< relative
};

/// The same residual in rising precision [N10]. Where an identity holds it falls with the unit roundoff; a
/// real difference stays.
struct PrecisionLadder {
  std::vector<Rung> rungs;

  /// d log(residual) / d log(unit) from double to 100 digits: 1 for an identity, 0 for a difference. 1 where
  /// nothing is left.
  double slope() const;

  /// Whether the residual is arithmetic as far as 100 digits can tell: no more units of them than of double,
  /// but for a factor of 1e10. False on NaN.
  bool is_identity() const;

  /// In words, with the size of the difference if there is one, and else of what was too small to see.
  std::string reading() const;
};

/// Evaluates residual.template operator()<S>() at every rung; it returns an S or a double, relative to the
/// size of what is compared.
template <class Residual>
PrecisionLadder climb(Residual residual) {
  const auto rung = [&]<RealScalar S>(const char* name) {
    return Rung{name, static_cast<double>(std::numeric_limits<S>::epsilon() / 2),
                static_cast<double>(residual.template operator()<S>())};
  };
  return {{rung.template operator()<float>("float"), rung.template operator()<double>("double"),
           rung.template operator()<Float50>("50 digits"), rung.template operator()<Float100>("100 digits")}};
}

/// The outputs of two modules on one fixed input of three tokens: are the stored numbers one function?
/// @throws as decide_equivalence
PrecisionLadder precision_ladder(const StoredAttention& a, const StoredAttention& b);

}  // namespace attnsym
