#include "verify/mla_attend.hpp"

#include <cmath>

#include "symmetry/errors.hpp"
#include "symmetry/matrix_products.hpp"
#include "symmetry/permutation.hpp"
#include "verify/attend.hpp"
#include "verify/mla_core.hpp"

namespace attnsym {
namespace {

template <class S>
Matrix<S> latents(const Matrix<S>& tokens, const MlaLatent<S>& latent, double epsilon) {
  using std::sqrt;
  Matrix<S> result = multiply(tokens, latent.down);
  for (Index n = 0; n < result.rows(); ++n) {
    S squares(0);
    for (Index k = 0; k < result.cols(); ++k) squares += result(n, k) * result(n, k);
    const S size = sqrt(S(squares / S(result.cols()) + S(epsilon)));
    for (Index k = 0; k < result.cols(); ++k) result(n, k) = result(n, k) * latent.gain(k) / size;
  }
  return result;
}

}  // namespace

template <ForwardScalar S>
Matrix<S> attend(const MlaConfig& config, const MlaWeights<S>& weights, const Matrix<S>& tokens) {
  require_fits(weights, config);
  require_same_size("the tokens and the model", tokens.cols(), config.model_width);
  const MlaCore core(config);
  Matrix<S> longer(tokens.rows(), core.width);
  longer << latents(tokens, weights.query, config.epsilon), latents(tokens, weights.kv, config.epsilon),
      tokens;
  return attend(core.config(config), core.weights(config, weights), longer).leftCols(config.model_width);
}

template Matrix<float> attend(const MlaConfig&, const MlaWeights<float>&, const Matrix<float>&);
template Matrix<double> attend(const MlaConfig&, const MlaWeights<double>&, const Matrix<double>&);
template Matrix<Float50> attend(const MlaConfig&, const MlaWeights<Float50>&, const Matrix<Float50>&);
template Matrix<Dual> attend(const MlaConfig&, const MlaWeights<Dual>&, const Matrix<Dual>&);

}  // namespace attnsym
