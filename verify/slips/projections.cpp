#include "verify/slips/projections.hpp"

#include "symmetry/circuits.hpp"

namespace attnsym {
namespace {

// Columns [width * i, width * (i + 1)): head i of a projection.
template <class M>
auto columns_of_head(M& projection, Index i, Index width) {
  return projection.middleCols(width * i, width);
}

// Takes a weight and its bias out of (D+1) x width.
template <class Block>
void take_apart(const Block& block, Matrix<double>& weight, RowVector<double>& bias) {
  weight = block.topRows(block.rows() - 1);
  bias = block.bottomRows(1);
}

}  // namespace

Matrix<double>& Projections::at(Projection which) {
  switch (which) {
    case Projection::Query:
      return query;
    case Projection::Key:
      return key;
    case Projection::Value:
      return value;
    case Projection::Output:
      break;
  }
  return output;
}

Index columns_of(Projection which, const AttentionConfig& config) {
  switch (which) {
    case Projection::Query:
      return config.heads * config.key_width;
    case Projection::Key:
      return config.groups * config.key_width;
    case Projection::Value:
      return config.groups * config.value_width;
    case Projection::Output:
      break;
  }
  return config.heads * config.value_width;
}

Projections projections_of(const AttentionWeights<double>& weights, const AttentionConfig& config) {
  const Index d = config.model_width;
  const Index dk = config.key_width;
  const Index dv = config.value_width;
  Projections result{Matrix<double>(d + 1, config.heads * dk), Matrix<double>(d + 1, config.groups * dk),
                     Matrix<double>(d + 1, config.groups * dv), Matrix<double>(d, config.heads * dv)};
  Index head = 0;
  for (Index j = 0; j < config.groups; ++j) {
    const KvGroup<double>& group = weights.groups[j];
    columns_of_head(result.key, j, dk) = homogeneous(group.key, group.key_bias);
    columns_of_head(result.value, j, dv) = homogeneous(group.value, group.value_bias);
    for (const QueryHead<double>& reader : group.readers) {
      columns_of_head(result.query, head, dk) = homogeneous(reader.query, reader.query_bias);
      columns_of_head(result.output, head, dv) = reader.output.transpose();
      ++head;
    }
  }
  return result;
}

AttentionWeights<double> with_projections(AttentionWeights<double> weights, const Projections& projections,
                                          const AttentionConfig& config) {
  const Index dk = config.key_width;
  const Index dv = config.value_width;
  Index head = 0;
  for (Index j = 0; j < config.groups; ++j) {
    KvGroup<double>& group = weights.groups[j];
    take_apart(columns_of_head(projections.key, j, dk), group.key, group.key_bias);
    take_apart(columns_of_head(projections.value, j, dv), group.value, group.value_bias);
    for (QueryHead<double>& reader : group.readers) {
      take_apart(columns_of_head(projections.query, head, dk), reader.query, reader.query_bias);
      reader.output = columns_of_head(projections.output, head, dv).transpose();
      ++head;
    }
  }
  return weights;
}

}  // namespace attnsym
