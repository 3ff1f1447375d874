#pragma once

#include <optional>

#include "symmetry/general_linear.hpp"
#include "symmetry/sign_rule.hpp"

namespace attnsym {

/// The balanced form of one pair of factors, N6 steps 1 and 2.
template <RealScalar S>
struct Balanced {
  Matrix<S> left;      ///< balanced factor that reads (stacked queries or stacked transposed outputs), m x n
  Matrix<S> right;     ///< balanced factor that is written (keys or values), D x n
  RowVector<S> sigma;  ///< n singular values of left * right^T, descending, zero beyond the rank
  Index rank = 0;      ///< how many of them count as non-zero
  S sign_margin{
      1};  ///< smallest |probe . direction| / (|probe| |direction|) that fixed a sign; near 0 is unstable
  std::optional<GeneralLinear<S>>
      linear;  ///< L with right = old right * L^T, left = old left * L^-1; absent below full rank
};

/// Moves a pair of factors along the gauge orbit to the point with left^T left = right^T right = diag(sigma):
/// the point of least norm, which exists at every rank (zero columns where rank is missing). Signs, and
/// rotations inside clusters of singular values closer than coincidence * sigma_1, are fixed by a fixed probe
/// of the right factor [N6]. Singular values up to coincidence * sigma_1 count as zero.
/// @param probe  Embedded for factors that are embedded complex matrices: columns that belong together come
/// out as a
///               complex column and i times it
/// @param noise  Frobenius norm of what rounding may have added to the circuit: singular values up to
///               noise / sqrt(n) count as zero too, and a circuit of norm up to noise does so altogether [N6]
/// @param probed_rows  how many of the first rows of the right factor are probed, of an embedded one in each
///               half; all if absent
template <RealScalar S>
Balanced<S> balance(const Matrix<S>& left, const Matrix<S>& right, S coincidence, S noise = S(0),
                    Probe probe = Probe::Plain, std::optional<Index> probed_rows = {});

/// The gauge of `balance` from inner products of columns alone, for factors of full rank whose products say
/// enough: what they lose of the factors' directions is less than a hundredth of `coincidence` [N6].
/// Otherwise absent. `left` and `right` of the result are empty: they are left * L^-1 and right * L^T.
/// @param left_products  left^T left, of which the lower half is read, for a left factor of `left_rows` rows
template <RealScalar S>
std::optional<Balanced<S>> balance_by_products(const Matrix<S>& left_products, Index left_rows,
                                               const Matrix<S>& right, S coincidence, S noise = S(0));

}  // namespace attnsym
