#include "tools/equivariance_report.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "checkpoint/printable.hpp"
#include "tools/layer_returned.hpp"
#include "tools/output.hpp"
#include "tools/shell.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

using nlohmann::json;
using Answer = GeneratorFinding::Answer;

const char* text_of(Answer answer) {
  switch (answer) {
    case Answer::Commutes:
      return "commutes";
    case Answer::Breaks:
      return "breaks";
    default:
      return "undecided";
  }
}

std::vector<std::string> names_with(const TrialFinding& finding, Answer answer) {
  std::vector<std::string> names;
  for (const GeneratorFinding& generator : finding.generators) {
    if (generator.answer == answer) names.push_back(generator.name);
  }
  return names;
}

// Axes of one entry, such as [0, 1, 2].
std::string index_text(const std::vector<Index>& axes, Index flat) {
  std::vector<std::int64_t> index(axes.size());
  for (std::size_t axis = axes.size(); axis-- > 0; flat /= axes[axis]) index[axis] = flat % axes[axis];
  return shape_text(index);
}

// Calls visit(entry, value) for the weights of a counterexample that are not zero.
template <class Visit>
void for_each_weight(const EquivarianceReport& report, const LayerGroup& group, const Draw& draw,
                     Visit visit) {
  const Index channels = report.options.channels;
  const TensorValues values = weights_of(group, draw, channels);
  const std::vector<TensorAxes> tensors = group.tensors(channels);
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    for (std::size_t i = 0; i < values[t].size(); ++i) {
      if (values[t][i] != 0)
        visit(tensors[t].name + index_text(tensors[t].axes, static_cast<Index>(i)), values[t][i]);
    }
  }
}

std::string replay_of(const EquivarianceReport& report, const GeneratorFinding& generator) {
  return report.replay + " --only " + in_shell_quotes(generator.name);
}

std::size_t place_of(const LayerGroup& group, const std::string& generator) {
  const std::vector<std::string> names = group.generators();
  return static_cast<std::size_t>(std::find(names.begin(), names.end(), generator) - names.begin());
}

void print_row(const GeneratorFinding& generator) {
  std::printf("%-23s %5zu  %-9s", generator.name.c_str(), generator.draws, text_of(generator.answer));
  bool any = false;
  for (const OutputError& error : generator.errors) {
    if (error.error == 0) continue;
    std::printf("%s %s %s", any ? "," : " ", error.tensor.c_str(), brief(error.relative()).c_str());
    any = true;
  }
  std::printf("%s\n", any ? "" : "  0");
}

void print_counterexample(const EquivarianceReport& report, const LayerGroup& group,
                          const GeneratorFinding& generator) {
  const Draw& draw = *generator.counterexample;
  std::printf("\n%s fails at%s\n", generator.name.c_str(),
              generator.smallest ? "" : " (not the smallest: --shrink-calls ended)");
  std::printf("weights zero");
  std::size_t shown = 0;
  std::size_t hidden = 0;
  for_each_weight(report, group, draw, [&](const std::string& entry, double value) {
    constexpr std::size_t most = 20;
    if (shown == most) {
      ++hidden;
    } else {
      std::printf("%s\n  %s = %g", shown == 0 ? " but for" : "", entry.c_str(), value);
      ++shown;
    }
  });
  if (hidden > 0) std::printf("\n  and %zu more", hidden);
  std::printf("\n%s\n", group.show(place_of(group, generator.name), draw.element).c_str());
  std::printf("replay: %s\n", replay_of(report, generator).c_str());
}

json errors_json(const std::vector<OutputError>& errors) {
  json list = json::array();
  for (const OutputError& error : errors) {
    list.push_back({{"tensor", error.tensor},
                    {"dtype", std::string(name_of(error.dtype))},
                    {"error", error.error},
                    {"size", error.size},
                    {"allowed", error.allowed}});
  }
  return list;
}

json counterexample_json(const EquivarianceReport& report, const LayerGroup& group,
                         const GeneratorFinding& generator) {
  json weights = json::object();
  for_each_weight(report, group, *generator.counterexample,
                  [&](const std::string& entry, double value) { weights[entry] = value; });
  return {{"weights", weights},
          {"element", group.show(place_of(group, generator.name), generator.counterexample->element)},
          {"smallest", generator.smallest},
          {"replay", replay_of(report, generator)}};
}

}  // namespace

ExitStatus EquivarianceReport::status() const {
  if (!names_with(finding, Answer::Breaks).empty()) return ExitStatus::no;
  if (finding.constant || !names_with(finding, Answer::Undecided).empty()) return ExitStatus::undecided;
  return ExitStatus::yes;
}

std::string EquivarianceReport::summary() const {
  const auto broken = names_with(finding, Answer::Breaks);
  if (!broken.empty()) return "breaks: " + joined(broken, ", ");
  if (finding.constant) return "undecided: the output is the same for all weights drawn, which shows nothing";
  const auto open = names_with(finding, Answer::Undecided);
  if (!open.empty())
    return "undecided: " + joined(open, ", ") +
           ": more than double precision explains, not more than single; if the layer computes in single "
           "precision, "
           "let it return F32";
  return options.invariant ? "invariant" : "equivariant";
}

void print_text(const EquivarianceReport& report, const LayerGroup& group) {
  std::printf("%s\n\n", report.summary().c_str());
  std::printf("group  %s\n", report.group.c_str());
  std::printf("seed   %llu\n\n", static_cast<unsigned long long>(report.options.seed));
  std::printf(
      "generator               draws  verdict    largest error by output tensor, relative to the output\n");
  for (const GeneratorFinding& generator : report.finding.generators) print_row(generator);
  for (const GeneratorFinding& generator : report.finding.generators) {
    if (generator.counterexample) print_counterexample(report, group, generator);
  }
}

void print_json(const EquivarianceReport& report, const LayerGroup& group) {
  json generators = json::array();
  for (const GeneratorFinding& generator : report.finding.generators) {
    generators.push_back({{"name", generator.name},
                          {"verdict", text_of(generator.answer)},
                          {"draws", generator.draws},
                          {"outputs", errors_json(generator.errors)}});
    if (generator.counterexample)
      generators.back()["counterexample"] = counterexample_json(report, group, generator);
  }
  const json object{
      {"schema", "attnsym.equivariance/1"},    {"summary", report.summary()}, {"group", report.group},
      {"invariant", report.options.invariant}, {"seed", report.options.seed}, {"calls", report.calls},
      {"constant", report.finding.constant},   {"generators", generators}};
  print_object(object);
}

}  // namespace attnsym
