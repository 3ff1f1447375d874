#include "nfn/gauge_commutant.hpp"

#include "symmetry/errors.hpp"
#include "symmetry/gauge_blocks.hpp"

namespace attnsym {

template <Scalar S>
std::vector<Matrix<S>> gauge_commutant(const AttentionConfig& config) {
  config.validate();
  if (config.qk_norm) throw ShapeError("norms of queries and keys leave no linear gauges to commute with");
  std::vector<Matrix<S>> basis;
  for (const GaugeBlock& block : gauge_blocks(config)) {
    const Matrix<S> one = Matrix<S>::Identity(block.size(), block.size());
    const Matrix<S> none = Matrix<S>::Zero(block.size(), block.size());
    Matrix<S> matrix = Matrix<S>::Zero(config.key_width, config.key_width);
    set_block(matrix, block, one, none);
    basis.push_back(matrix.transpose());
    if (!block.is_complex()) continue;
    set_block(matrix, block, none, one);
    basis.push_back(matrix.transpose());
  }
  return basis;
}

template std::vector<Matrix<float>> gauge_commutant(const AttentionConfig&);
template std::vector<Matrix<double>> gauge_commutant(const AttentionConfig&);
template std::vector<Matrix<Float50>> gauge_commutant(const AttentionConfig&);
template std::vector<Matrix<Rational>> gauge_commutant(const AttentionConfig&);

}  // namespace attnsym
