#pragma once

#include <array>
#include <cmath>

#include "symmetry/general_linear.hpp"
#include "verify/testing/generators.hpp"

namespace attnsym::testing {

/// Turns the plane of coordinates i and j by steps[2] * pi / 16; steps = {i, j, angle}.
inline Matrix<double> rotation(Index size, const std::array<int, 3>& steps) {
  const auto [i, j, angle] = steps;
  Matrix<double> turn = Matrix<double>::Identity(size, size);
  if (i == j) return turn;
  const double radians = angle * std::acos(-1.0) / 16;
  turn(i, i) = turn(j, j) = std::cos(radians);
  turn(i, j) = std::sin(radians);
  turn(j, i) = -std::sin(radians);
  return turn;
}

/// Rotations, scales from 1/10 to 10, rotations: condition up to 100, rounded as real gauges are. Shrinks to
/// the identity.
inline rc::Gen<GeneralLinear<double>> conditioned_gauge(Index size) {
  return rc::gen::exec([size] {
    const auto place = whole_range(0, static_cast<int>(size) - 1);
    const auto draw_rotation = [&] {
      Matrix<double> turn = Matrix<double>::Identity(size, size);
      for (Index step = 0; step < size; ++step) {
        turn = rotation(size, {*place, *place, *small_integer(8)}) * turn;
      }
      return turn;
    };
    const Matrix<double> before = draw_rotation();
    const Matrix<double> after = draw_rotation();
    RowVector<double> scale(size);
    for (Index k = 0; k < size; ++k) scale(k) = std::pow(10.0, *small_integer(8) / 8.0);
    return GeneralLinear<double>::from_matrix_and_inverse(
        after * scale.asDiagonal() * before,
        before.transpose() * scale.cwiseInverse().asDiagonal() * after.transpose());
  });
}

}  // namespace attnsym::testing
