#pragma once

#include "symmetry/stored_attention.hpp"

namespace attnsym {

/// Numbers known up to an error: every true entry lies within `radius` of `center`. Same shapes.
template <RealScalar S>
struct Enclosed {
  Matrix<S> center;
  Matrix<double> radius;
};

using Enclosure = Enclosed<double>;

/// The output of the reference forward pass (attend) for every module whose weights lie within module.radius
/// of module.weights, arithmetic errors of the evaluation included [N9]. With radii zero it encloses the
/// output of the stored numbers themselves. First-order errors are not over-estimated except where several
/// logits share one error, and for pairs of rotary coordinates and norms; equal tokens cancel exactly, but
/// for these.
/// @param tokens  n x D, exact
/// @returns n x D; the radius is infinite or NaN where the evaluation left the range of double
/// @throws ShapeError if the weights do not fit the config or the tokens are not D wide
Enclosure enclose_attend(const StoredAttention& module, const Matrix<double>& tokens);

/// The same for one token as query, one row, with 50 digits in place of double: the radii are some 1e-45 of
/// what is added up, so that differences of stored numbers in their last bits stand out.
Enclosed<Float50> enclose_at_fifty_digits(const StoredAttention& module, const Matrix<double>& tokens,
                                          Index query);

/// The module with all radii zero: its numbers are meant as they stand.
StoredAttention taken_as_exact(StoredAttention module);

/// A lower bound of |x - y| (Frobenius) over all x, y in the enclosures; 0 if they may coincide, or on NaN.
template <RealScalar S>
double distance_at_least(const Enclosed<S>& x, const Enclosed<S>& y);

/// The largest distance of two entries in units of their summed radii: above 1 where distance_at_least is
/// above 0, and how near it is to that elsewhere. 0 on NaN.
double largest_separation(const Enclosure& x, const Enclosure& y);

}  // namespace attnsym
