#include "verify/gauge_sides.hpp"

#include "symmetry/circuits.hpp"

namespace attnsym {

GaugeSides qk_sides(const KvGroup<double>& group, const Permutation& order) {
  const Index rows = group.key.rows() + 1;
  GaugeSides sides{homogeneous(group.key, group.key_bias),
                   Matrix<double>(rows * order.size(), group.key.cols())};
  for (Index i = 0; i < order.size(); ++i) {
    const QueryHead<double>& reader = group.readers[i];
    sides.reading.middleRows(rows * order(i), rows) = homogeneous(reader.query, reader.query_bias);
  }
  return sides;
}

GaugeSides vo_sides(const KvGroup<double>& group, const Permutation& order) {
  const Index rows = group.value.rows();
  GaugeSides sides{homogeneous(group.value, group.value_bias),
                   Matrix<double>(rows * order.size(), group.value.cols())};
  for (Index i = 0; i < order.size(); ++i) {
    sides.reading.middleRows(rows * order(i), rows) = group.readers[i].output.transpose();
  }
  return sides;
}

}  // namespace attnsym
