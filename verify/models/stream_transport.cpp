#include "verify/models/stream_transport.hpp"
#include "symmetry/matrix_products.hpp"

#include <algorithm>
#include <utility>

namespace attnsym {

StreamTransport StreamTransport::identity(Index width) { return {Kind::Identity, width}; }

StreamTransport StreamTransport::signed_permutation(Permutation order, RowVector<double> sign) {
  StreamTransport result(Kind::SignedPermutation, order.size());
  result.order_ = std::move(order);
  result.sign_ = std::move(sign);
  return result;
}

StreamTransport StreamTransport::orthogonal(Matrix<double> q) {
  StreamTransport result(Kind::Orthogonal, q.rows());
  result.squares_ = q.cwiseAbs2();
  result.q_ = std::move(q);
  return result;
}

bool StreamTransport::keeps_signs() const {
  return kind_ == Kind::Identity || (kind_ == Kind::SignedPermutation && (sign_.array() > 0).all());
}

StoredMatrix StreamTransport::written(StoredMatrix rows) const {
  if (kind_ == Kind::Identity || rows.value.size() == 0) return rows;
  if (kind_ == Kind::Orthogonal)
    return {multiply(rows.value, q_), multiply(rows.radius.cwiseAbs2(), squares_).cwiseSqrt()};
  StoredMatrix result{Matrix<double>(rows.value.rows(), rows.value.cols()),
                      Matrix<double>(rows.value.rows(), rows.value.cols())};
  for (Index k = 0; k < order_.size(); ++k) {
    result.value.col(order_(k)) = sign_(k) * rows.value.col(k);
    result.radius.col(order_(k)) = rows.radius.col(k);
  }
  return result;
}

StoredMatrix StreamTransport::read(StoredMatrix weight) const {
  if (kind_ == Kind::Identity || weight.value.size() == 0) return weight;
  if (kind_ == Kind::Orthogonal) {
    return {multiply_tn(q_, weight.value), multiply_tn(squares_, weight.radius.cwiseAbs2()).cwiseSqrt()};
  }
  StoredMatrix result{Matrix<double>(weight.value.rows(), weight.value.cols()),
                      Matrix<double>(weight.value.rows(), weight.value.cols())};
  for (Index k = 0; k < order_.size(); ++k) {
    result.value.row(order_(k)) = sign_(k) * weight.value.row(k);
    result.radius.row(order_(k)) = weight.radius.row(k);
  }
  return result;
}

StoredMatrix StreamTransport::placed(StoredMatrix row) const {
  if (kind_ == Kind::Identity || row.value.size() == 0) return row;
  StoredMatrix result = row;
  for (Index k = 0; k < order_.size(); ++k) {
    result.value.col(order_(k)) = row.value.col(k);
    result.radius.col(order_(k)) = row.radius.col(k);
  }
  return result;
}

StoredAttention StreamTransport::moved(StoredAttention module) const {
  if (kind_ == Kind::Identity) return module;
  const auto move = [](auto& value, auto& radius, const auto& transport) {
    if (value.size() == 0) return;
    StoredMatrix moved = transport(StoredMatrix{std::move(value), std::move(radius)});
    value = std::move(moved.value);
    radius = std::move(moved.radius);
  };
  const auto reads = [&](StoredMatrix weight) { return read(std::move(weight)); };
  const auto writes = [&](StoredMatrix rows) { return written(std::move(rows)); };
  for (std::size_t j = 0; j < module.weights.groups.size(); ++j) {
    KvGroup<double>& value = module.weights.groups[j];
    KvGroup<double>& radius = module.radius.groups[j];
    move(value.key, radius.key, reads);
    move(value.value, radius.value, reads);
    for (std::size_t i = 0; i < value.readers.size(); ++i) {
      move(value.readers[i].query, radius.readers[i].query, reads);
      move(value.readers[i].gate, radius.readers[i].gate, reads);
      move(value.readers[i].output, radius.readers[i].output, writes);
    }
  }
  move(module.weights.output_bias, module.radius.output_bias, writes);
  module.independent = module.independent && kind_ != Kind::Orthogonal;
  return module;
}

Matrix<double> StreamTransport::matrix() const {
  const Index width = order_.size();
  return written({Matrix<double>::Identity(width, width), Matrix<double>::Zero(width, width)}).value;
}

const char* name_of(const StreamTransport& transport) {
  switch (transport.kind()) {
    case StreamTransport::Kind::Identity:
      return "the identity";
    case StreamTransport::Kind::SignedPermutation:
      return "a signed permutation";
    case StreamTransport::Kind::Orthogonal:
      break;
  }
  return "an orthogonal matrix";
}

}  // namespace attnsym
