#include "verify/witness_search.hpp"

#include <algorithm>

#include "symmetry/centred.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/rounding.hpp"
#include "verify/witness_inputs.hpp"

namespace attnsym {
namespace {

constexpr int noise_draws = 16;

// One search: what has been found so far, and how an input is judged. Every judgement draws noise of its own:
// an ascent against fixed draws would find inputs on which just these are small.
class Search {
 public:
  Search(const StoredAttention& a, const StoredAttention& b, double factor, Random& random)
      : a_(a), b_(b), factor_(factor), random_(random) {}

  bool done() const { return separated_; }
  const Witness& best() const { return best_; }

  // Keeps the input if it is the best so far.
  bool try_input(const Matrix<double>& input) {
    Witness witness = measure(a_, b_, input, 1, random_.bits());
    separated_ = confirm(witness);
    if (!separated_ && best_.input.size() > 0 && score(witness) <= score(best_)) return false;
    best_ = std::move(witness);
    return true;
  }

  // Random steps from the best input: its size, the size of one token, and some of its numbers.
  void ascend(int steps) {
    double stride = 1;
    for (int step = 0; step < steps && !done(); ++step)
      stride = try_input(moved(best_.input, stride)) ? std::min(2.0, 1.5 * stride) : 0.8 * stride;
  }

  // Drops tokens while three are left and the rest still separates.
  void shorten() {
    for (Index drop = 0; drop < best_.input.rows() && best_.input.rows() > 3;) {
      Matrix<double> shorter(best_.input.rows() - 1, best_.input.cols());
      shorter << best_.input.topRows(drop), best_.input.bottomRows(best_.input.rows() - drop - 1);
      Witness witness = measure(a_, b_, shorter, 1, random_.bits());
      if (confirm(witness)) {
        best_ = std::move(witness);
      } else {
        ++drop;
      }
    }
  }

 private:
  // Whether the witness separates, with more draws of noise, and before the checker.
  bool confirm(Witness& witness) {
    if (!separates(witness, factor_)) return false;
    witness = measure(a_, b_, witness.input, noise_draws, random_.bits());
    return separates(witness, factor_) && !refute_witness(a_, b_, witness.input);
  }

  // At least 1 for what separates.
  double score(const Witness& witness) const {
    return std::min(witness.strength() / factor_, witness.separation);
  }

  Matrix<double> moved(Matrix<double> input, double stride) {
    const Index kind = random_.below(3);
    const double factor = std::exp(stride * random_.normal());
    if (kind == 0) {
      input *= factor;
    } else if (kind == 1) {
      input.row(random_.below(input.rows())) *= factor;
    } else {
      const double size = stride * input.norm() / std::sqrt(static_cast<double>(input.size()));
      for (Index i = 0; i < input.size(); ++i) input.data()[i] += size * random_.normal();
    }
    return a_.config.centred_inputs ? centred_tokens(std::move(input)) : input;
  }

  const StoredAttention& a_;
  const StoredAttention& b_;
  double factor_;
  Random& random_;
  Witness best_;
  bool separated_ = false;
};

}  // namespace

Suspects suspects_in(const StoredScores& qk_a, const StoredScores& qk_b, StoredCircuit vo_a,
                     StoredCircuit vo_b) {
  std::optional<TermPair> worst;
  std::pair<double, double> largest{-1, -1};
  for (TermPair& pair : paired_terms(qk_a, qk_b)) {
    const CircuitComparison compared = compare(pair.a, pair.b);
    const std::pair<double, double> size{compared.ratio, compared.difference};
    if (worst && !(size > largest)) continue;
    largest = size;
    worst = std::move(pair);
  }
  return {worst->a, worst->b, std::move(vo_a), std::move(vo_b), worst->harmonic};
}

std::optional<Witness> search_witness(const StoredAttention& a, const StoredAttention& b,
                                      const Suspects& suspects, double factor, std::uint64_t seed) {
  constexpr int ascent_steps = 60;
  Random random(seed);
  Search search(a, b, factor, random);
  for (const Matrix<double>& input : candidate_inputs(a.config, suspects, random)) {
    search.try_input(input);
    if (search.done()) break;
  }
  search.ascend(ascent_steps);
  if (!search.done()) return std::nullopt;
  search.shorten();
  return search.best();
}

}  // namespace attnsym
