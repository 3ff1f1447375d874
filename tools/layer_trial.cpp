#include "tools/layer_trial.hpp"

#include <algorithm>
#include <cmath>

#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/random.hpp"
#include "tools/draw_shrinker.hpp"
#include "tools/layer_returned.hpp"

namespace attnsym {
namespace {

using Answer = GeneratorFinding::Answer;

constexpr int largest_choice = 8;

class Trial {
 public:
  Trial(const LayerGroup& group, LayerCommand& layer, const TrialOptions& options)
      : group_(group), layer_(layer), options_(options), inputs_(group.tensors(options.channels)) {
    for (const TensorAxes& tensor : inputs_) weights_ += static_cast<std::size_t>(tensor.size());
  }

  TrialFinding run();

 private:
  struct Case {
    std::size_t generator;
    Draw draw;
  };
  enum class NotFinite { Throws, CountsAsNoFailure };

  std::vector<std::size_t> generators() const;
  std::vector<Case> random_cases(std::size_t generator) const;
  bool moves(const Case& tried) const;
  Returned call(const std::vector<TensorValues>& checkpoints);
  std::vector<std::vector<OutputError>> errors(const std::vector<Case>& cases, NotFinite not_finite);
  std::vector<OutputError> errors_of(const Case& tried, const Returned& returned, std::size_t at) const;
  GeneratorFinding judge(std::size_t generator, const std::vector<Case>& cases);
  void shrink(std::size_t generator, GeneratorFinding& finding);

  const LayerGroup& group_;
  LayerCommand& layer_;
  const TrialOptions& options_;
  std::vector<TensorAxes> inputs_;
  std::size_t weights_ = 0;
  double usual_size_ = 0;  // of outputs: the median over the random draws of one generator
  std::optional<TensorValues> first_output_;
  bool constant_ = true;
};

std::vector<std::size_t> Trial::generators() const {
  const std::vector<std::string> names = group_.generators();
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!options_.only || names[i] == *options_.only) chosen.push_back(i);
  }
  if (chosen.empty()) throw ShapeError("the generators of this group are: " + joined(names, ", "));
  return chosen;
}

// Weights that the element leaves as they are show nothing.
bool Trial::moves(const Case& tried) const {
  const TensorValues weights = weights_of(group_, tried.draw, options_.channels);
  return group_.moved(tried.generator, tried.draw.element, weights, options_.channels) != weights;
}

std::vector<Trial::Case> Trial::random_cases(std::size_t generator) const {
  Random random(options_.seed + 0x9e3779b97f4a7c15U * (generator + 1));
  const auto draw = [&](std::size_t count) {
    Choices choices(count);
    for (int& choice : choices)
      choice = static_cast<int>(random.below(2 * largest_choice + 1)) - largest_choice;
    return choices;
  };
  std::vector<Case> cases;
  for (int attempts = 0; cases.size() < options_.draws; ++attempts) {
    if (attempts > 100 * static_cast<int>(options_.draws))
      throw ShapeError("all weights drawn stay where they are");
    Case tried{generator, {draw(weights_), {}}};
    tried.draw.element = draw(group_.choices(generator));
    if (moves(tried)) cases.push_back(std::move(tried));
  }
  return cases;
}

Returned Trial::call(const std::vector<TensorValues>& checkpoints) {
  const LayerOutputs outputs = layer_(inputs_, checkpoints);
  return options_.invariant ? sorted_invariants(outputs, checkpoints.size())
                            : sorted_weights(group_, outputs, checkpoints.size());
}

// Checkpoint `at` is w, the next g w.
std::vector<OutputError> Trial::errors_of(const Case& tried, const Returned& returned, std::size_t at) const {
  const TensorValues& plain = returned.checkpoints[at];
  const TensorValues& moved_first = returned.checkpoints[at + 1];
  const TensorValues moved_last =
      options_.invariant ? plain
                         : group_.moved(tried.generator, tried.draw.element, plain, returned.channels);
  const double size = std::max(returned.size(at), returned.size(at + 1));
  std::vector<OutputError> result;
  for (std::size_t t = 0; t < returned.names.size(); ++t) {
    OutputError error{returned.names[t], returned.dtypes[t], 0, size, 0};
    for (std::size_t i = 0; i < moved_last[t].size(); ++i) {
      error.error = std::max(error.error, std::abs(moved_first[t][i] - moved_last[t][i]));
    }
    result.push_back(std::move(error));
  }
  return result;
}

// One list of errors per case; empty where the output is not finite and that is no failure.
std::vector<std::vector<OutputError>> Trial::errors(const std::vector<Case>& cases, NotFinite not_finite) {
  const std::size_t at_once = std::max<std::size_t>(1, (options_.batch - 1) / 2);
  std::vector<std::vector<OutputError>> result;
  for (std::size_t first = 0; first < cases.size(); first += at_once) {
    const std::size_t count = std::min(at_once, cases.size() - first);
    std::vector<TensorValues> checkpoints;
    for (std::size_t i = first; i < first + count; ++i) {
      checkpoints.push_back(weights_of(group_, cases[i].draw, options_.channels));
      checkpoints.push_back(
          group_.moved(cases[i].generator, cases[i].draw.element, checkpoints.back(), options_.channels));
    }
    checkpoints.push_back(checkpoints.front());  // once more, to be found equal
    const Returned returned = call(checkpoints);
    if (not_finite == NotFinite::Throws) {
      require_finite(returned);
      require_equal(returned, 0, 2 * count);
    }
    if (!first_output_) first_output_ = returned.checkpoints[0];
    for (std::size_t i = 0; i < count; ++i) {
      constant_ = constant_ && returned.checkpoints[2 * i] == *first_output_;
      const bool finite = std::isfinite(returned.size(2 * i)) && std::isfinite(returned.size(2 * i + 1));
      result.push_back(finite ? errors_of(cases[first + i], returned, 2 * i) : std::vector<OutputError>{});
    }
  }
  return result;
}

// Outputs that cancel leave rounding of the size of what cancelled, hence the usual size.
void allow_rounding(std::vector<OutputError>& errors, double usual_size) {
  for (OutputError& error : errors)
    error.allowed = rounding_limit(error.dtype) * std::max(error.size, usual_size);
}

bool fails(const std::vector<OutputError>& errors) {
  return std::any_of(errors.begin(), errors.end(),
                     [](const OutputError& error) { return error.error > error.allowed; });
}

// The median over draws.
double median_size(const std::vector<std::vector<OutputError>>& draws) {
  std::vector<double> sizes;
  for (const auto& errors : draws) sizes.push_back(errors[0].size);
  const auto middle = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2);
  std::nth_element(sizes.begin(), middle, sizes.end());
  return *middle;
}

std::vector<OutputError> worst(const std::vector<std::vector<OutputError>>& draws) {
  std::vector<OutputError> result = draws[0];
  for (const auto& errors : draws) {
    for (std::size_t t = 0; t < errors.size(); ++t) {
      if (errors[t].relative() > result[t].relative()) result[t] = errors[t];
    }
  }
  return result;
}

// A file in F64 does not prove that all of the layer computes in double: what single precision explains is
// left undecided. `size` stands for that of the output.
bool exceeds_single(const OutputError& error, double size) {
  return error.dtype != Dtype::F64 || error.error > rounding_limit(Dtype::F32) * size;
}

GeneratorFinding Trial::judge(std::size_t generator, const std::vector<Case>& cases) {
  auto found = errors(cases, NotFinite::Throws);
  usual_size_ = median_size(found);
  for (auto& errors : found) allow_rounding(errors, usual_size_);
  GeneratorFinding finding{
      group_.generators()[generator], Answer::Commutes, cases.size(), worst(found), {}, false};
  const auto failing = std::find_if(found.begin(), found.end(), fails);
  if (failing == found.end()) return finding;

  finding.answer = Answer::Undecided;
  for (const auto& errors : found) {
    for (const OutputError& error : errors) {
      if (error.error > error.allowed && exceeds_single(error, std::max(error.size, usual_size_)))
        finding.answer = Answer::Breaks;
    }
  }
  finding.counterexample = cases[static_cast<std::size_t>(failing - found.begin())].draw;
  finding.errors = *failing;
  shrink(generator, finding);
  // At the smallest weights all but the violation is gone.
  for (const OutputError& error : finding.errors) {
    if (error.error > error.allowed && exceeds_single(error, error.size)) finding.answer = Answer::Breaks;
  }
  return finding;
}

void Trial::shrink(std::size_t generator, GeneratorFinding& finding) {
  DrawShrinker shrinker(*finding.counterexample, inputs_, (options_.batch - 1) / 2);
  const int budget_end = layer_.calls() + options_.shrink_calls;
  try {
    while (!shrinker.done() && layer_.calls() < budget_end) {
      std::vector<Case> simpler;
      for (Draw& draw : shrinker.candidates()) simpler.push_back({generator, std::move(draw)});
      auto outcomes = errors(simpler, NotFinite::CountsAsNoFailure);
      std::vector<bool> failed;
      for (auto& outcome : outcomes) {
        allow_rounding(outcome, usual_size_);
        failed.push_back(fails(outcome));
      }
      if (const auto chosen = shrinker.choose(failed)) finding.errors = outcomes[*chosen];
    }
  } catch (const LayerCallError&) {
    // Some simpler weights are more than the layer can take: what has been found stays.
  }
  finding.smallest = shrinker.done();
  finding.counterexample = shrinker.smallest();
}

TrialFinding Trial::run() {
  TrialFinding result;
  for (const std::size_t generator : generators()) {
    result.generators.push_back(judge(generator, random_cases(generator)));
  }
  result.constant = constant_;
  return result;
}

}  // namespace

TrialFinding try_layer(const LayerGroup& group, LayerCommand& layer, const TrialOptions& options) {
  return Trial(group, layer, options).run();
}

TensorValues weights_of(const LayerGroup& group, const Draw& draw, Index channels) {
  TensorValues values;
  auto next = draw.weights.begin();
  for (const TensorAxes& tensor : group.tensors(channels)) {
    std::vector<double>& entries = values.emplace_back();
    for (Index i = 0; i < tensor.size(); ++i) entries.push_back(*next++ / 4.0);
  }
  return values;
}

}  // namespace attnsym
