#pragma once

#include <vector>

#include "nfn/block_tables.hpp"
#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"

namespace attnsym {

/// All linear maps of tables to tables that commute with P_D and P_DA, one parameter per orbit of pairs of
/// entries [N13]. With
///
///     pooled    (F + M + U + P) x n   fixed, then the sums of model, unit and pair over what moves
///     at_model  (M + P) x n D         model, then the sums of pair over k
///     at_unit   (U + P) x n DA        unit, then the sums of pair over j
///
/// of the input, the outputs are, each added to all entries that share its index,
///
///     fixed = Pooled pooled    model = Pooled pooled + Model at_model    unit = Pooled pooled + Unit at_unit
///     pair = Pooled pooled + Model at_model + Unit at_unit + Pair pair
///
/// with rows of the parameters for every output. Complete and without redundancy if D, DA >= 2.
template <Scalar S>
class TableLinear {
 public:
  using Input = BlockTables<S>;
  using Output = BlockTables<S>;

  /// All parameters zero.
  TableLinear(const TableRows& in, const TableRows& out);

  static Index parameter_count(const TableRows& in, const TableRows& out);

  /// Pooled, Model, Unit, Pair, those that have entries: views that live as long as this stays where it is.
  std::vector<ParameterView<S>> parameters();

  /// @throws ShapeError unless the tables have the rows stated.
  BlockTables<S> operator()(const BlockTables<S>& input) const;

  /// @throws ShapeError if the input or the cotangent does not fit.
  Gradients<TableLinear> backward(const BlockTables<S>& input, const BlockTables<S>& cotangent) const;

 private:
  TableLinear transposed() const;

  TableRows in_;
  TableRows out_;
  Matrix<S> pooled_;  // rows of fixed, model, unit and pair x F + M + U + P
  Matrix<S> model_;   // rows of model and pair x M + P
  Matrix<S> unit_;    // rows of unit and pair x U + P
  Matrix<S> pair_;    // rows of pair x P
};

extern template class TableLinear<float>;
extern template class TableLinear<double>;
extern template class TableLinear<Float50>;
extern template class TableLinear<Rational>;

static_assert(DifferentiableLayer<TableLinear<double>>);

}  // namespace attnsym
