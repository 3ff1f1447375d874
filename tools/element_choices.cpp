#include "tools/element_choices.hpp"

#include <array>
#include <cstdlib>

namespace attnsym {
namespace {

Index place(ChoiceReader& choices, Index size) { return std::abs(choices.next()) % size; }

GeneralLinear<double> diagonal(const RowVector<double>& factors) {
  return GeneralLinear<double>::from_matrix_and_inverse(factors.asDiagonal().toDenseMatrix(),
                                                        factors.cwiseInverse().asDiagonal().toDenseMatrix());
}

GeneralLinear<double> shear(Index size, Index i, Index j, double factor) {
  Matrix<double> matrix = Matrix<double>::Identity(size, size);
  Matrix<double> inverse = matrix;
  matrix(i, j) = factor;
  inverse(i, j) = -factor;
  return GeneralLinear<double>::from_matrix_and_inverse(std::move(matrix), std::move(inverse));
}

GeneralLinear<double> reordering(const Permutation& order) {
  Matrix<double> matrix = Matrix<double>::Zero(order.size(), order.size());
  for (Index k = 0; k < order.size(); ++k) matrix(order(k), k) = 1;
  return GeneralLinear<double>::from_matrix_and_inverse(matrix, matrix.transpose());
}

}  // namespace

int ChoiceReader::next() {
  const std::size_t i = taken_++;
  return i < choices_.size() ? choices_[i] : 0;
}

Permutation chosen_order(ChoiceReader& choices, Index size) {
  std::vector<Index> image = Permutation::identity(size).image();
  for (Index i = size - 1; i > 0; --i) std::swap(image[i], image[i - place(choices, i + 1)]);
  return Permutation::from_image(std::move(image));
}

GeneralLinear<double> chosen_linear(ChoiceReader& choices, Index size) {
  auto result = GeneralLinear<double>::identity(size);
  for (Index step = 0; size > 1 && step < size; ++step) {
    const int factor = choices.next() % 3;
    const Index i = place(choices, size);
    const Index j = (i + 1 + place(choices, size - 1)) % size;
    result = compose(shear(size, i, j, factor), result);
  }
  constexpr std::array<double, 6> factors{1, -1, 2, 0.5, -2, -0.5};  // simple ones first
  RowVector<double> scale(size);
  for (Index k = 0; k < size; ++k) scale(k) = factors[place(choices, 6)];
  return compose(reordering(chosen_order(choices, size)), compose(diagonal(scale), result));
}

RowVector<double> chosen_row(ChoiceReader& choices, Index size) {
  RowVector<double> row(size);
  for (Index k = 0; k < size; ++k) row(k) = choices.next() / 4.0;
  return row;
}

}  // namespace attnsym
