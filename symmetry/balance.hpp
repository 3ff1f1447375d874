#pragma once

#include <optional>

#include "symmetry/general_linear.hpp"
#include "symmetry/scalar.hpp"

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

/// The fixed probe that decides signs: any matrix, or one whose columns are pairs of w and i w, complex
/// vectors as real parts above imaginary ones.
enum class Probe { Plain, Embedded };

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

}  // namespace attnsym
