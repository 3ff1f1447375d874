#include "nfn/table_linear.hpp"

#include "nfn/model_axis.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"

namespace attnsym {
namespace {

Index pooled_rows(const TableRows& r) { return r.fixed + r.model + r.unit + r.pair; }
Index model_rows(const TableRows& r) { return r.model + r.pair; }
Index unit_rows(const TableRows& r) { return r.unit + r.pair; }

template <class S>
Matrix<S> at_model(const BlockTables<S>& t) {
  Matrix<S> result(model_rows(t.rows()), t.model.cols());
  result << t.model, coordinates_to_columns(sum_columns(t.pair, t.units), t.width);
  return result;
}

template <class S>
Matrix<S> at_unit(const BlockTables<S>& t) {
  Matrix<S> result(unit_rows(t.rows()), t.unit.cols());
  result << t.unit, sum_model_axis(t.pair, t.width);
  return result;
}

template <class S>
Matrix<S> pooled(const BlockTables<S>& t) {
  Matrix<S> result(pooled_rows(t.rows()), t.batch);
  result << t.fixed, sum_columns(t.model, t.width), sum_columns(t.unit, t.units),
      sum_model_axis(sum_columns(t.pair, t.units), t.width);
  return result;
}

// result = (mixer (x) I_D) tensor.
template <class S>
void mix_pairs(const Matrix<S>& mixer, const Matrix<S>& tensor, Index width, Matrix<S>& result) {
  result.setZero();
  for (Index e = 0; e < mixer.rows(); ++e) {
    for (Index c = 0; c < mixer.cols(); ++c) {
      result.middleRows(e * width, width) += mixer(e, c) * tensor.middleRows(c * width, width);
    }
  }
}

template <class S>
void require_fits(const BlockTables<S>& tables, const TableRows& rows) {
  if (!(tables.rows() == rows)) throw ShapeError("tables have other rows than the layer");
}

}  // namespace

template <Scalar S>
TableLinear<S>::TableLinear(const TableRows& in, const TableRows& out)
    : in_(in),
      out_(out),
      pooled_(Matrix<S>::Zero(pooled_rows(out), pooled_rows(in))),
      model_(Matrix<S>::Zero(model_rows(out), model_rows(in))),
      unit_(Matrix<S>::Zero(unit_rows(out), unit_rows(in))),
      pair_(Matrix<S>::Zero(out.pair, in.pair)) {}

template <Scalar S>
Index TableLinear<S>::parameter_count(const TableRows& in, const TableRows& out) {
  return pooled_rows(out) * pooled_rows(in) + model_rows(out) * model_rows(in) +
         unit_rows(out) * unit_rows(in) + out.pair * in.pair;
}

template <Scalar S>
std::vector<ParameterView<S>> TableLinear<S>::parameters() {
  std::vector<ParameterView<S>> views;
  const auto add = [&](const char* name, Matrix<S>& matrix) {
    if (matrix.size() == 0) return;
    views.push_back(
        {name, &matrix, 0, 0, matrix.rows(), 1, 1, matrix.cols(), {matrix.rows(), matrix.cols()}});
  };
  add("Pooled", pooled_);
  add("Model", model_);
  add("Unit", unit_);
  add("Pair", pair_);
  return views;
}

template <Scalar S>
BlockTables<S> TableLinear<S>::operator()(const BlockTables<S>& input) const {
  require_fits(input, in_);
  auto result = BlockTables<S>::uninitialized(out_, input.width, input.units, input.batch);
  const Matrix<S> to_all = multiply(pooled_, pooled(input));
  Matrix<S> to_model = multiply(model_, at_model(input));
  add_to_columns(to_model.topRows(out_.model), to_all.middleRows(out_.fixed, out_.model), input.width);
  Matrix<S> to_unit = multiply(unit_, at_unit(input));
  // The constants of units and of pairs stand below each other, as they do here.
  add_to_columns(to_unit, to_all.bottomRows(unit_rows(out_)), input.units);
  result.fixed = to_all.topRows(out_.fixed);
  result.model = to_model.topRows(out_.model);
  result.unit = to_unit.topRows(out_.unit);
  mix_pairs(pair_, input.pair, input.width, result.pair);
  add_along_model_axis(result.pair, Matrix<S>(to_unit.bottomRows(out_.pair)), input.width);
  const Matrix<S> at_rows = columns_to_coordinates(Matrix<S>(to_model.bottomRows(out_.pair)), input.width);
  add_to_columns(result.pair, at_rows, input.units);
  return result;
}

// The adjoint: sums and their spreading are transposes of each other.
template <Scalar S>
TableLinear<S> TableLinear<S>::transposed() const {
  TableLinear result(out_, in_);
  result.pooled_ = pooled_.transpose();
  result.model_ = model_.transpose();
  result.unit_ = unit_.transpose();
  result.pair_ = pair_.transpose();
  return result;
}

template <Scalar S>
Gradients<TableLinear<S>> TableLinear<S>::backward(const BlockTables<S>& input,
                                                   const BlockTables<S>& cotangent) const {
  require_fits(input, in_);
  require_fits(cotangent, out_);
  if (input.batch != cotangent.batch) throw ShapeError("input and cotangent are of different batches");
  Gradients<TableLinear> gradients{transposed()(cotangent), TableLinear(in_, out_)};
  TableLinear& by = gradients.parameters;
  by.pooled_ = multiply_nt(pooled(cotangent), pooled(input));
  by.model_ = multiply_nt(at_model(cotangent), at_model(input));
  by.unit_ = multiply_nt(at_unit(cotangent), at_unit(input));
  by.pair_ = mixer_gradient(cotangent.pair, input.pair, input.width);
  return gradients;
}

template class TableLinear<float>;
template class TableLinear<double>;
template class TableLinear<Float50>;
template class TableLinear<Rational>;

}  // namespace attnsym
