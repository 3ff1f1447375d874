#pragma once

#include <rapidcheck.h>
#include <rapidcheck/detail/TestListenerAdapter.h>

#include <iostream>
#include <optional>
#include <sstream>

#include "verify/testing/families.hpp"
#include "verify/testing/tensor_errors.hpp"

/// Does a layer commute with a group, and if not, with which of its generators? A layer is a callable of
/// weights. If it accepts weights at 50 digits (a generic lambda does), every draw is judged on the precision
/// ladder; a layer that knows double only is judged by a tolerance.
namespace attnsym::testing {

struct EquivarianceOptions {
  int draws = 100;  ///< per family
  /// For layers that know double only: the largest error that passes, relative to the output.
  double double_limit = 1e-10;
  std::optional<std::uint64_t> seed = std::nullopt;  ///< by default that of RapidCheck, new in every run
};

struct FamilyReport {
  std::string family;
  bool passed = false;
  int draws = 0;            ///< shrinking included
  TensorErrors errors;      ///< of the counterexample, or of the worst draw
  std::string explanation;  ///< why it failed, the smallest weights and the simplest element; empty if passed
};

struct EquivarianceReport {
  std::vector<FamilyReport> families;
  std::string replay;  ///< what to put in front of the command to see the same again

  /// Every family passed, and there was one.
  bool passed() const {
    return !families.empty() && std::all_of(families.begin(), families.end(),
                                            [](const FamilyReport& family) { return family.passed; });
  }

  /// The names of the families that the layer does not commute with.
  std::vector<std::string> broken() const {
    std::vector<std::string> names;
    for (const FamilyReport& family : families) {
      if (!family.passed) names.push_back(family.family);
    }
    return names;
  }
};

/// For people: one line per family with its errors, then the counterexamples and how to replay them.
inline std::ostream& operator<<(std::ostream& out, const EquivarianceReport& report) {
  if (report.families.empty()) return out << "the group has no generators: nothing was shown\n";
  for (const FamilyReport& family : report.families) {
    out << (family.passed ? "commutes with " : "BREAKS ") << family.family << " (" << family.draws
        << " draws)";
    for (const TensorError& error : family.errors) {
      if (error.absolute > 0) out << ", " << error.tensor << " off by " << error.absolute;
    }
    out << '\n';
  }
  for (const FamilyReport& family : report.families) out << family.explanation;
  if (!report.passed()) out << "replay: " << report.replay << '\n';
  return out;
}

namespace detail {

inline double largest_size(const TensorErrors& errors) {
  double largest = 0;
  for (const TensorError& error : errors) largest = std::max(largest, error.size);
  return largest;
}

// The errors of one draw, and whether rounding explains them all.
struct Judged {
  TensorErrors errors;
  bool passed = true;
};

template <class Layer, class G, class X>
Judged judge(const Layer& layer, const G& g, const X& x, const EquivarianceOptions& options) {
  using Fine = decltype(cast<Float50>(x));
  Judged judged{tensor_errors(layer, g, x)};
  const double scale = largest_size(judged.errors);
  if constexpr (std::is_invocable_v<const Layer&, const Fine&>) {
    const TensorErrors fine = tensor_errors(layer, in_scalar<Float50>(g), cast<Float50>(x));
    for (std::size_t i = 0; i < fine.size(); ++i) {
      if (!is_rounding(judged.errors[i].absolute, fine[i].absolute, scale)) judged.passed = false;
    }
  } else {
    for (const TensorError& error : judged.errors) {
      if (!(error.absolute <= options.double_limit * scale)) judged.passed = false;
    }
  }
  // A layer that returns nothing has shown nothing.
  judged.passed = judged.passed && !judged.errors.empty();
  return judged;
}

inline void keep_worst(TensorErrors& worst, const TensorErrors& errors) {
  for (const TensorError& error : errors) {
    TensorError& kept = entry_of(worst, error.tensor);
    kept.absolute = std::max(kept.absolute, error.absolute);
    kept.size = std::max(kept.size, error.size);
  }
}

inline rc::detail::TestParams parameters_of(const EquivarianceOptions& options) {
  rc::detail::TestParams params = rc::detail::configuration().testParams;
  params.maxSuccess = options.draws;
  params.seed = options.seed.value_or(params.seed);
  return params;
}

// What failed, at its smallest; or why nothing was shown.
inline std::string describe(const std::string& family, const rc::detail::TestResult& result) {
  std::ostringstream text;
  text << '\n' << family << " fails at\n";
  if (!result.is<rc::detail::FailureResult>()) {
    rc::detail::printResultMessage(result, text);
    return text.str() + '\n';
  }
  for (const auto& [type, value] : result.get<rc::detail::FailureResult>().counterExample) {
    text << value << '\n';
  }
  return text.str();
}

template <class Layer, class G, class X>
FamilyReport check_family(const Layer& layer, const Family<G>& family, const rc::Gen<X>& weights,
                          const EquivarianceOptions& options) {
  FamilyReport report{family.name, false, 0, {}, {}};
  TrivialCount trivial;
  TensorErrors worst;
  rc::detail::TestListenerAdapter quiet;  // the report says all there is to say
  const auto result = rc::detail::checkTestable(
      [&] {
        const X x = *weights;
        const G g = *family.elements;
        trivial.note(g);
        ++report.draws;
        const Judged judged = judge(layer, g, x, options);
        keep_worst(worst, judged.errors);
        if (!judged.passed) report.errors = judged.errors;  // shrinking ends with the smallest
        RC_ASSERT(judged.passed);
      },
      rc::detail::TestMetadata{family.name, family.name}, parameters_of(options), quiet);
  report.passed = result.template is<rc::detail::SuccessResult>() && report.draws >= options.draws &&
                  trivial.share() <= largest_trivial_share;
  if (report.passed) {
    report.errors = worst;
  } else {
    report.explanation = describe(family.name, result);
  }
  return report;
}

}  // namespace detail

/// Tests the layer against every family of the group.
template <class Layer, TestedGroup Group>
EquivarianceReport check_equivariance(const Layer& layer, const Group& group,
                                      const EquivarianceOptions& options = {}) {
  EquivarianceReport report;
  report.replay = options.seed
                      ? "EquivarianceOptions::seed = " + std::to_string(*options.seed)
                      : "RC_PARAMS=\"seed=" + std::to_string(detail::parameters_of(options).seed) + '"';
  for (const auto& family : group.families()) {
    report.families.push_back(detail::check_family(layer, family, group.weights(), options));
  }
  return report;
}

/// Whether the layer commutes with the group; tells on standard error what is wrong if it does not. Also
/// false where nothing was shown: a group without generators, a layer without output, NaN.
template <class Layer, TestedGroup Group>
bool expect_equivariant(const Layer& layer, const Group& group, const EquivarianceOptions& options = {}) {
  const EquivarianceReport report = check_equivariance(layer, group, options);
  if (!report.passed()) std::cerr << report;
  return report.passed();
}

/// The twin: whether the layer breaks these families and no others. Tells on standard error what was found if
/// not.
template <class Layer, TestedGroup Group>
bool expect_not_equivariant(const Layer& layer, const Group& group, const std::vector<std::string>& families,
                            const EquivarianceOptions& options = {}) {
  const EquivarianceReport report = check_equivariance(layer, group, options);
  const bool as_expected = !families.empty() && report.broken() == families;
  if (!as_expected) std::cerr << report;
  return as_expected;
}

}  // namespace attnsym::testing
