#include "symmetry/random_gauge.hpp"

#include <cmath>

#include "symmetry/matrix_products.hpp"
#include "symmetry/thin_qr.hpp"

namespace attnsym {
namespace {

template <RealScalar S>
Matrix<S> random_orthogonal(Random& random, Index size) {
  Matrix<S> normal(size, size);
  for (Index i = 0; i < normal.size(); ++i) normal.data()[i] = S(random.normal());
  return ThinQr<S>(normal).times(Matrix<S>::Identity(size, size));
}

// A complex n x n matrix as two real ones.
template <class S>
struct Complex {
  Matrix<S> real;
  Matrix<S> imaginary;
};

// U diag(sigma) V^T with random rotations U and V, and for a complex block a random phase for every sigma.
template <RealScalar S>
struct Polar {
  Matrix<S> u;
  Matrix<S> v;
  RowVector<S> sigma;
  RowVector<double> phase;

  Polar(Random& random, Index size, const RowVector<S>& values, bool complex)
      : u(random_orthogonal<S>(random, size)),
        v(random_orthogonal<S>(random, size)),
        sigma(values),
        phase(RowVector<double>::Zero(size)) {
    for (Index k = 0; complex && k < size; ++k) phase(k) = std::acos(-1.0) * random.uniform();
  }

  Complex<S> matrix() const { return product(u, sigma, v, 1); }
  Complex<S> inverse() const { return product(v, sigma.cwiseInverse(), u, -1); }

 private:
  Complex<S> product(const Matrix<S>& left, const RowVector<S>& values, const Matrix<S>& right,
                     int sense) const {
    using std::cos;
    using std::sin;
    RowVector<S> real(values.size());
    RowVector<S> imaginary(values.size());
    for (Index k = 0; k < values.size(); ++k) {
      real(k) = values(k) * cos(S(phase(k)));
      imaginary(k) = S(sense) * values(k) * sin(S(phase(k)));
    }
    return {multiply_nt(left * real.asDiagonal(), right), multiply_nt(left * imaginary.asDiagonal(), right)};
  }
};

}  // namespace

Permutation random_permutation(Random& random, Index size) {
  std::vector<Index> image = Permutation::identity(size).image();
  for (Index i = size - 1; i > 0; --i) std::swap(image[i], image[random.below(i + 1)]);
  return Permutation::from_image(std::move(image));
}

template <RealScalar S>
RowVector<S> geometric_spread(Index size, double condition) {
  RowVector<S> sigma(size);
  for (Index k = 0; k < size; ++k) {
    const double place = size == 1 ? 0 : 0.5 - static_cast<double>(k) / static_cast<double>(size - 1);
    sigma(k) = S(std::pow(condition, place));
  }
  return sigma;
}

template <RealScalar S>
GeneralLinear<S> random_gauge(Random& random, Index size, double condition) {
  const Polar<S> polar(random, size, geometric_spread<S>(size, condition), false);
  return GeneralLinear<S>::from_matrix_and_inverse(polar.matrix().real, polar.inverse().real);
}

template <RealScalar S>
GeneralLinear<S> random_gauge(Random& random, Index size, const std::vector<GaugeBlock>& blocks,
                              double condition) {
  if (blocks.size() == 1 && !blocks.front().is_complex()) return random_gauge<S>(random, size, condition);
  // Blocks of one complex number share the range between them.
  const RowVector<S> moduli = geometric_spread<S>(static_cast<Index>(blocks.size()), condition);
  const Permutation order = random_permutation(random, static_cast<Index>(blocks.size()));
  Matrix<S> matrix = Matrix<S>::Zero(size, size);
  Matrix<S> inverse = matrix;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const Index n = blocks[b].size();
    const RowVector<S> sigma =
        n == 1 ? RowVector<S>::Constant(1, moduli(order(b))) : geometric_spread<S>(n, condition);
    const Polar<S> polar(random, n, sigma, blocks[b].is_complex());
    const Complex<S> there = polar.matrix();
    const Complex<S> back = polar.inverse();
    set_block(matrix, blocks[b], there.real, there.imaginary);
    set_block(inverse, blocks[b], back.real, back.imaginary);
  }
  return GeneralLinear<S>::from_matrix_and_inverse(std::move(matrix), std::move(inverse));
}

template <Scalar S>
GeneralLinear<S> random_monomial(Random& random, Index size, const std::vector<GaugeBlock>& blocks,
                                 double condition) {
  const int largest_exponent = static_cast<int>(std::floor(std::log2(condition) / 2));
  Matrix<S> matrix = Matrix<S>::Zero(size, size);
  Matrix<S> inverse = matrix;
  for (const GaugeBlock& block : blocks) {
    const Index n = block.size();
    const Matrix<S> zero = Matrix<S>::Zero(n, n);
    Complex<S> there{zero, zero};
    Complex<S> back{zero, zero};
    const Permutation order = random_permutation(random, n);
    for (Index k = 0; k < n; ++k) {
      const int exponent = static_cast<int>(random.below(2 * largest_exponent + 1)) - largest_exponent;
      const double factor = std::ldexp(random.below(2) == 0 ? 1.0 : -1.0, exponent);
      const bool quarter_turn = block.is_complex() && random.below(2) == 0;
      (quarter_turn ? there.imaginary : there.real)(order(k), k) = S(factor);
      (quarter_turn ? back.imaginary : back.real)(k, order(k)) = S(quarter_turn ? -1 / factor : 1 / factor);
    }
    set_block(matrix, block, there.real, there.imaginary);
    set_block(inverse, block, back.real, back.imaginary);
  }
  return GeneralLinear<S>::from_matrix_and_inverse(std::move(matrix), std::move(inverse));
}

template RowVector<float> geometric_spread(Index, double);
template RowVector<double> geometric_spread(Index, double);
template RowVector<Float50> geometric_spread(Index, double);

template GeneralLinear<float> random_gauge(Random&, Index, double);
template GeneralLinear<double> random_gauge(Random&, Index, double);
template GeneralLinear<Float50> random_gauge(Random&, Index, double);
template GeneralLinear<float> random_gauge(Random&, Index, const std::vector<GaugeBlock>&, double);
template GeneralLinear<double> random_gauge(Random&, Index, const std::vector<GaugeBlock>&, double);
template GeneralLinear<Float50> random_gauge(Random&, Index, const std::vector<GaugeBlock>&, double);

template GeneralLinear<float> random_monomial(Random&, Index, const std::vector<GaugeBlock>&, double);
template GeneralLinear<double> random_monomial(Random&, Index, const std::vector<GaugeBlock>&, double);
template GeneralLinear<Float50> random_monomial(Random&, Index, const std::vector<GaugeBlock>&, double);
template GeneralLinear<Rational> random_monomial(Random&, Index, const std::vector<GaugeBlock>&, double);

}  // namespace attnsym
