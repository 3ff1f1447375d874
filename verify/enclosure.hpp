#pragma once

#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// Numbers known up to an error: every true entry lies within `radius` of `center`. Same shapes.
struct Enclosure {
  Matrix<double> center;
  Matrix<double> radius;
};

/// The output of the reference forward pass (attend) for every module whose weights lie within module.radius
/// of module.weights, arithmetic errors of the evaluation included [N9]. With radii zero it encloses the
/// output of the stored numbers themselves. First-order errors are not over-estimated except where several
/// logits share one error, and for pairs of rotary coordinates and norms; equal tokens cancel exactly, but
/// for these.
/// @param tokens  n x D, exact
/// @returns n x D; the radius is infinite or NaN where the evaluation left the range of double
/// @throws ShapeError if the weights do not fit the config or the tokens are not D wide
Enclosure enclose_attend(const StoredAttention& module, const Matrix<double>& tokens);

/// The module with all radii zero: its numbers are meant as they stand.
StoredAttention taken_as_exact(StoredAttention module);

/// A lower bound of |x - y| (Frobenius) over all x, y in the enclosures; 0 if they may coincide, or on NaN.
double distance_at_least(const Enclosure& x, const Enclosure& y);

/// The largest distance of two entries in units of their summed radii: above 1 where distance_at_least is
/// above 0, and how near it is to that elsewhere. 0 on NaN.
double largest_separation(const Enclosure& x, const Enclosure& y);

}  // namespace attnsym
