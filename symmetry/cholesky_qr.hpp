#pragma once

#include <optional>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// m = (columns * correction) * triangle, p = min(rows, cols): the columns of the first product are
/// orthonormal. It stays unmultiplied because what follows multiplies by a small matrix anyway.
template <RealScalar S>
struct OrthonormalFactors {
  Matrix<S> columns;     ///< rows x p
  Matrix<S> correction;  ///< p x p
  Matrix<S> triangle;    ///< p x cols, upper
};

/// The thin QR of a tall matrix from the Cholesky factor of m^T m, done twice: nearly all of it matrix
/// products, which processors do several times faster than reflections. As accurate as reflections, or
/// absent: the first round squares the condition number of m, and where that leaves too little (around 1e7 in
/// double) the second round finds columns that are not nearly orthonormal. [Yamamoto, Nakatsukasa,
/// Yanagisawa, Fukaya: Roundoff error analysis of the CholeskyQR2 algorithm, 2015]
template <RealScalar S>
std::optional<OrthonormalFactors<S>> cholesky_qr(const Matrix<S>& m);

/// The same by whichever way is open: cholesky_qr, else reflections (ThinQr).
template <RealScalar S>
OrthonormalFactors<S> orthonormal_factors(const Matrix<S>& m);

}  // namespace attnsym
