#include "nfn/block_tables.hpp"

#include "nfn/head_blocks.hpp"
#include "nfn/model_axis.hpp"
#include "symmetry/matrix_products.hpp"

namespace attnsym {
namespace {

// The next `rows` rows of a table.
template <class Table>
auto take(Table& table, Index& row, Index rows) {
  const Index first = row;
  row += rows;
  return table.middleRows(first, rows);
}

// Visits every tensor of entries with its rows: whole(rows, tensor) where both are laid out alike, and
// columns(rows, tensor) where the model coordinates of the tensor are columns of the table.
template <class Tables, class Features, class Visitor>
void for_each_entry(Tables& tables, Features& features, const Visitor& visit) {
  const BlockShape& shape = features.shape;
  const Index d = features.channels;
  const Index coordinates = d * shape.model_width;
  Index fixed = 0;
  Index model = 0;
  Index unit = 0;
  visit.whole(take(tables.fixed, fixed, coordinates), features.down_bias);
  if (shape.affine_norm) {
    for (auto* tensor : {&features.norm_gain, &features.norm_bias}) {
      if (shape.residual) {
        visit.whole(take(tables.fixed, fixed, coordinates), *tensor);
      } else {
        visit.columns(take(tables.model, model, d), *tensor);
      }
    }
  }
  visit.whole(take(tables.unit, unit, coordinates), features.down);
  visit.whole(take(tables.unit, unit, d), features.up_bias);
  visit.whole(shape.residual ? take(tables.unit, unit, coordinates) : tables.pair.topRows(coordinates),
              features.up);
}

struct Gather {
  Index width;

  template <class Rows, class S>
  void whole(Rows rows, const Matrix<S>& tensor) const {
    rows = tensor;
  }
  template <class Rows, class S>
  void columns(Rows rows, const Matrix<S>& tensor) const {
    rows = coordinates_to_columns(tensor, width);
  }
};

struct Scatter {
  Index width;

  template <class Rows, class S>
  void whole(Rows rows, Matrix<S>& tensor) const {
    tensor = rows;
  }
  template <class Rows, class S>
  void columns(Rows rows, Matrix<S>& tensor) const {
    tensor = columns_to_coordinates(Matrix<S>(rows), width);
  }
};

template <class Features>
auto queries_of(Features& f, Index c, Index n) {
  return heads_of(f.query, f.shape, c, n, f.shape.key_width);
}
template <class Features>
auto keys_of(Features& f, Index c, Index n) {
  return heads_of(f.key, f.shape, c, n, f.shape.key_width);
}
template <class Features>
auto values_of(Features& f, Index c, Index n) {
  return heads_of(f.value, f.shape, c, n, f.shape.value_width);
}
template <class Features>
auto outputs_of(Features& f, Index c, Index n) {
  return heads_of(f.output, f.shape, c, n, f.shape.value_width);
}

// Where the sums of products stand, as D x D matrices: K Q^T always, O^T V^T in a residual block
// (column-major, so that the second index of Q K^T and V O is the fast one), V O in a plain one.
template <class Tables>
struct ProductBlocks {
  Tables& tables;
  BlockShape shape;
  TableRows entries;
  Index channels;

  auto square(Index index, Index n) const {
    const Index d = shape.model_width;
    using Table = std::remove_reference_t<decltype((tables.fixed))>;
    using Square = std::conditional_t<std::is_const_v<Table>, const std::remove_const_t<Table>, Table>;
    return Eigen::Map<Square>(&tables.fixed(entries.fixed + index * d * d, n), d, d);
  }
  auto kq(Index c, Index n) const { return square(c, n); }
  auto ov(Index c, Index n) const { return square(channels + c, n); }
  auto vo(Index c, Index n) const {
    const Index d = shape.model_width;
    return tables.model.block(entries.model + c * d, n * d, d, d);
  }
};

template <class Tables, class S>
ProductBlocks<Tables> products_of(Tables& tables, const WeightFeatures<S>& features) {
  return {tables, features.shape, entry_rows(features.shape, features.channels), features.channels};
}

}  // namespace

template <Scalar S>
BlockTables<S> BlockTables<S>::uninitialized(const TableRows& rows, Index width, Index units, Index batch) {
  return {width,
          units,
          batch,
          Matrix<S>(rows.fixed, batch),
          Matrix<S>(rows.model, batch * width),
          Matrix<S>(rows.unit, batch * units),
          Matrix<S>(rows.pair * width, batch * units)};
}

TableRows entry_rows(const BlockShape& shape, Index d) {
  const Index coordinates = d * shape.model_width;
  const Index norms = shape.affine_norm ? 2 : 0;
  if (shape.residual) return {(1 + norms) * coordinates, 0, 2 * coordinates + d, 0};
  return {coordinates, norms * d, coordinates + d, d};
}

TableRows feature_rows(const BlockShape& shape, Index d) {
  const Index coordinates = d * shape.model_width;
  TableRows rows = entry_rows(shape, d);
  rows.fixed += coordinates * shape.model_width + 1;
  (shape.residual ? rows.fixed : rows.model) +=
      shape.residual ? coordinates * shape.model_width : coordinates;
  return rows;
}

template <Scalar S>
BlockTables<S> entry_tables(const WeightFeatures<S>& features) {
  const BlockShape& shape = features.shape;
  auto tables = BlockTables<S>::uninitialized(entry_rows(shape, features.channels), shape.model_width,
                                              shape.hidden_width, features.batch);
  for_each_entry(tables, features, Gather{shape.model_width});
  return tables;
}

template <Scalar S>
BlockTables<S> feature_tables(const WeightFeatures<S>& features) {
  const BlockShape& shape = features.shape;
  auto tables = BlockTables<S>::uninitialized(feature_rows(shape, features.channels), shape.model_width,
                                              shape.hidden_width, features.batch);
  for_each_entry(tables, features, Gather{shape.model_width});
  const auto products = products_of(tables, features);
  for_each_module(features, [&](Index c, Index n) {
    products.kq(c, n) = multiply_nt(keys_of(features, c, n), queries_of(features, c, n));
    if (shape.residual) {
      products.ov(c, n) = multiply_nt(outputs_of(features, c, n), values_of(features, c, n));
    } else {
      products.vo(c, n) = multiply_nt(values_of(features, c, n), outputs_of(features, c, n));
    }
  });
  tables.fixed.row(tables.fixed.rows() - 1).setOnes();
  return tables;
}

template <Scalar S>
void set_entries(const BlockTables<S>& tables, WeightFeatures<S>& features) {
  for_each_entry(tables, features, Scatter{features.shape.model_width});
}

template <Scalar S>
void pull_back_products(const WeightFeatures<S>& features, const BlockTables<S>& cotangent,
                        WeightFeatures<S>& gradient) {
  const auto products = products_of(cotangent, features);
  for_each_module(features, [&](Index c, Index n) {
    const Matrix<S> kq = products.kq(c, n);
    add_product(keys_of(gradient, c, n), kq, queries_of(features, c, n));
    add_product_tn(queries_of(gradient, c, n), kq, keys_of(features, c, n));
    const Matrix<S> vo =
        features.shape.residual ? Matrix<S>(products.ov(c, n).transpose()) : Matrix<S>(products.vo(c, n));
    add_product(values_of(gradient, c, n), vo, outputs_of(features, c, n));
    add_product_tn(outputs_of(gradient, c, n), vo, values_of(features, c, n));
  });
}

template struct BlockTables<float>;
template struct BlockTables<double>;
template struct BlockTables<Float50>;
template struct BlockTables<Rational>;
template BlockTables<float> entry_tables(const WeightFeatures<float>&);
template BlockTables<double> entry_tables(const WeightFeatures<double>&);
template BlockTables<Float50> entry_tables(const WeightFeatures<Float50>&);
template BlockTables<Rational> entry_tables(const WeightFeatures<Rational>&);
template BlockTables<float> feature_tables(const WeightFeatures<float>&);
template BlockTables<double> feature_tables(const WeightFeatures<double>&);
template BlockTables<Float50> feature_tables(const WeightFeatures<Float50>&);
template BlockTables<Rational> feature_tables(const WeightFeatures<Rational>&);
template void set_entries(const BlockTables<float>&, WeightFeatures<float>&);
template void set_entries(const BlockTables<double>&, WeightFeatures<double>&);
template void set_entries(const BlockTables<Float50>&, WeightFeatures<Float50>&);
template void set_entries(const BlockTables<Rational>&, WeightFeatures<Rational>&);
template void pull_back_products(const WeightFeatures<float>&, const BlockTables<float>&,
                                 WeightFeatures<float>&);
template void pull_back_products(const WeightFeatures<double>&, const BlockTables<double>&,
                                 WeightFeatures<double>&);
template void pull_back_products(const WeightFeatures<Float50>&, const BlockTables<Float50>&,
                                 WeightFeatures<Float50>&);
template void pull_back_products(const WeightFeatures<Rational>&, const BlockTables<Rational>&,
                                 WeightFeatures<Rational>&);

}  // namespace attnsym
