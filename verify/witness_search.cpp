#include "verify/witness_search.hpp"

#include <algorithm>

#include "verify/witness_inputs.hpp"

namespace attnsym {
namespace {

constexpr int noise_draws = 8;

// One search: what has been found so far, and how an input is judged.
class Search {
 public:
  Search(const StoredAttention& a, const StoredAttention& b, double factor, std::uint64_t seed)
      : a_(a), b_(b), factor_(factor), seed_(seed) {}

  bool done() const { return separates(best_, factor_); }
  Witness result() && { return std::move(best_); }

  // Keeps the input if it is the best so far. One draw of noise sorts out the hopeless ones: more draws can
  // only raise the noise.
  bool try_input(const Matrix<double>& input) {
    Witness witness = measure(a_, b_, input, 1, seed_);
    if (separates(witness, factor_)) witness = measure(a_, b_, input, noise_draws, seed_);
    if (best_.input.size() > 0 && score(witness) <= score(best_)) return false;
    best_ = std::move(witness);
    return true;
  }

  // Random steps from the best input: its size, the size of one token, and some of its numbers.
  void ascend(int steps, Random& random) {
    double stride = 1;
    for (int step = 0; step < steps && !done(); ++step)
      stride = try_input(moved(best_.input, stride, random)) ? std::min(2.0, 1.5 * stride) : 0.8 * stride;
  }

  // Drops tokens while three are left and the rest still separates.
  void shorten() {
    for (Index drop = 0; drop < best_.input.rows() && best_.input.rows() > 3;) {
      Matrix<double> shorter(best_.input.rows() - 1, best_.input.cols());
      shorter << best_.input.topRows(drop), best_.input.bottomRows(best_.input.rows() - drop - 1);
      Witness witness = measure(a_, b_, shorter, noise_draws, seed_);
      if (separates(witness, factor_)) {
        best_ = std::move(witness);
      } else {
        ++drop;
      }
    }
  }

 private:
  // At least 1 for what separates.
  double score(const Witness& witness) const {
    return std::min(witness.strength() / factor_, witness.separation);
  }

  static Matrix<double> moved(Matrix<double> input, double stride, Random& random) {
    const Index kind = random.below(3);
    const double factor = std::exp(stride * random.normal());
    if (kind == 0) {
      input *= factor;
    } else if (kind == 1) {
      input.row(random.below(input.rows())) *= factor;
    } else {
      const double size = stride * input.norm() / std::sqrt(static_cast<double>(input.size()));
      for (Index i = 0; i < input.size(); ++i) input.data()[i] += size * random.normal();
    }
    return input;
  }

  const StoredAttention& a_;
  const StoredAttention& b_;
  double factor_;
  std::uint64_t seed_;
  Witness best_;
};

}  // namespace

Witness search_witness(const StoredAttention& a, const StoredAttention& b, const Suspects& suspects,
                       double factor, std::uint64_t seed) {
  constexpr int ascent_steps = 60;
  Random random(seed);
  Search search(a, b, factor, seed);
  for (const Matrix<double>& input : candidate_inputs(a.config.model_width, suspects, random)) {
    search.try_input(input);
    if (search.done()) break;
  }
  search.ascend(ascent_steps, random);
  if (search.done()) search.shorten();
  return std::move(search).result();
}

}  // namespace attnsym
