#include "verify/null_space.hpp"

#include "symmetry/svd.hpp"
#include "symmetry/thin_qr.hpp"

namespace attnsym {
namespace {

using Forward = std::function<Matrix<Dual>(const Matrix<Dual>&)>;
using Inputs = std::vector<Matrix<Dual>>;

// Relative to the largest singular value. Rounding leaves 1e-15; what the function sees, 1e-6 and more.
constexpr double negligible = 1e-10;

// The derivatives of all outputs along the direction that the numbers carry.
Eigen::VectorXd derivative(const Forward& forward, const Inputs& inputs) {
  std::vector<double> slopes;
  for (const Matrix<Dual>& input : inputs) {
    const Matrix<Dual> output = forward(input);
    for (Index k = 0; k < output.size(); ++k) slopes.push_back(output.data()[k].slope);
  }
  return Eigen::Map<const Eigen::VectorXd>(slopes.data(), static_cast<Index>(slopes.size()));
}

Matrix<double> jacobian(const std::vector<Dual*>& numbers, const Forward& forward, const Inputs& inputs) {
  Matrix<double> result;
  for (std::size_t column = 0; column < numbers.size(); ++column) {
    numbers[column]->slope = 1;
    const Eigen::VectorXd slopes = derivative(forward, inputs);
    numbers[column]->slope = 0;
    if (column == 0) result.resize(slopes.size(), static_cast<Index>(numbers.size()));
    result.col(static_cast<Index>(column)) = slopes;
  }
  return result;
}

// Columns are brought to one length, which changes no rank; those of parameters without any effect stay.
MeasuredDimension null_space(Matrix<double> derivatives) {
  const RowVector<double> lengths = derivatives.colwise().norm();
  for (Index k = 0; k < derivatives.cols(); ++k) {
    if (lengths(k) > negligible * lengths.maxCoeff()) derivatives.col(k) /= lengths(k);
  }
  // Of more rows than columns only the triangle is decomposed.
  const RowVector<double> sigma = rough_singular_values(
      derivatives.rows() > derivatives.cols() ? ThinQr<double>(derivatives).triangle() : derivatives);
  const Index rank = (sigma.array() > negligible * sigma(0)).count();
  const Index dimension = derivatives.cols() - rank;
  return {dimension, derivatives.cols(), derivatives.rows(), sigma(rank - 1) / sigma(0),
          dimension > 0 ? sigma(rank) / sigma(0) : 0};
}

void append_rows(Matrix<double>& m, const Matrix<double>& rows) {
  const Index old_rows = m.rows();
  m.conservativeResize(old_rows + rows.rows(), rows.cols());
  m.bottomRows(rows.rows()) = rows;
}

}  // namespace

MeasuredDimension measure_null_space(const std::vector<Dual*>& numbers, const Forward& forward,
                                     const std::function<Matrix<double>()>& draw_input) {
  const auto parameters = static_cast<Index>(numbers.size());
  Matrix<double> derivatives;
  MeasuredDimension measured{parameters + 1};
  Index count = 0;  // of inputs so far
  while (true) {
    Inputs inputs{draw_input().cast<Dual>()};
    const Index outputs_each = inputs.front().size();
    const Index wanted = count == 0 ? (parameters + outputs_each - 1) / outputs_each : count;
    while (static_cast<Index>(inputs.size()) < wanted) inputs.emplace_back(draw_input().cast<Dual>());
    append_rows(derivatives, jacobian(numbers, forward, inputs));
    count += static_cast<Index>(inputs.size());
    const MeasuredDimension next = null_space(derivatives);
    if (next.dimension == measured.dimension) return next;
    measured = next;
  }
}

}  // namespace attnsym
