#pragma once

#include "symmetry/stored_transformer.hpp"

namespace attnsym {

/// Arithmetic on stored numbers that carries the errors along, those of different numbers taken as
/// independent: squares add up [N7]. None of it rounds noticeably itself.

/// diag(gain) W: what a reader does to a token before the norm's gain. @param gain 1 x D, weight D x n
StoredMatrix scaled_rows(const StoredMatrix& gain, StoredMatrix weight);

/// The same of rows that read by inner products: n x D.
StoredMatrix scaled_columns(const StoredMatrix& gain, StoredMatrix rows);

/// a b, errors of different entries of a product taken as independent, too.
StoredMatrix product(const StoredMatrix& a, const StoredMatrix& b);

/// a + b, where one may be empty.
StoredMatrix sum(StoredMatrix a, const StoredMatrix& b);

/// Without the mean of every column, or of every row.
StoredMatrix centred_columns(StoredMatrix matrix);
StoredMatrix centred_rows(StoredMatrix matrix);

StoredMatrix scaled(StoredMatrix matrix, double factor);

}  // namespace attnsym
