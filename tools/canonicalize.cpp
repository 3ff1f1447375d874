#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "symmetry/canonical.hpp"
#include "tools/commands.hpp"
#include "tools/output.hpp"
#include "tools/rewrite_options.hpp"
#include "tools/unread.hpp"
#include "tools/whole_commands.hpp"
#include "verify/stored_precision.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

using nlohmann::json;

// A head counts as stable when rounding of the input can move its canonical weights by no more than this.
constexpr double stable_change = 1e-4;
// A sign, an order or a decision not to merge counts as fixed when its margin is this many times what
// rounding can move.
constexpr double margin_factor = 10;

// The canonical form of one group as reported: margins, and what the rounding of IN does to them.
struct GroupReport {
  CanonicalMargins<double> margins;
  double qk_gap = 0;
  double vo_gap = 0;
  double expected_change = 0;
  bool stable = false;
};

// The smallest distance between neighbouring singular values, or of the last to zero below full rank,
// relative to the largest. The zero circuit has none.
double relative_gap(const RowVector<double>& sigma) {
  double gap = 1;
  for (Index k = 1; k < sigma.size() && sigma(k - 1) > 0; ++k)
    gap = std::min(gap, (sigma(k - 1) - sigma(k)) / sigma(0));
  return gap;
}

double relative(double noise, const RowVector<double>& sigma) {
  return sigma.norm() > 0 ? noise / sigma.norm() : 0;
}

GroupReport report(const AttentionConfig& config, const CanonicalMargins<double>& margins, double unit) {
  const Index d = config.model_width;
  const Index readers = config.readers_per_group();
  const double qk_noise = relative(margins.qk_noise, margins.qk_sigma);
  const double vo_noise = relative(margins.vo_noise, margins.vo_sigma);
  GroupReport result{margins, 1, relative_gap(margins.vo_sigma)};
  result.expected_change = expected_change(margins.vo_sigma, readers * d, d, vo_noise, unit);
  for (const RowVector<double>& sigma : margins.qk_block_sigma) {
    result.qk_gap = std::min(result.qk_gap, relative_gap(sigma));
    result.expected_change =
        std::max(result.expected_change, expected_change(sigma, readers * (d + 1), d, qk_noise, unit));
  }
  const double sign_margin = std::min(margins.qk_sign_margin, margins.vo_sign_margin);
  result.stable = !margins.shares_a_circuit && margins.merge_margin >= margin_factor &&
                  result.expected_change <= stable_change &&
                  sign_margin >= margin_factor * result.expected_change &&
                  margins.order_margin >= margin_factor * std::max(qk_noise, vo_noise);
  return result;
}

struct LayerReport {
  std::vector<GroupReport> groups;
  HeadClasses classes;  // heads of IN and of OUT
};

// "s 0 2" or " 1", to go behind "head".
std::string in_words(const std::vector<Index>& heads) {
  std::string words = heads.size() == 1 ? "" : "s";
  for (const Index head : heads) words += " " + std::to_string(head);
  return words;
}

// The heads of IN whose sum a head of OUT is a part of; none for a zero head.
std::vector<Index> origins(const HeadClasses& classes, Index head) {
  for (const HeadClass& one : classes) {
    if (std::find(one.b.begin(), one.b.end(), head) != one.b.end()) return one.a;
  }
  return {};
}

// JSON has no infinity.
json finite(double margin) { return std::isfinite(margin) ? json(margin) : json(); }

json group_json(const GroupReport& group, const HeadClasses& classes, Index place, Index readers) {
  json heads = json::array();
  const double sign_margin = std::min(group.margins.qk_sign_margin, group.margins.vo_sign_margin);
  for (Index i = 0; i < readers; ++i) {
    heads.push_back({{"head", place * readers + i},
                     {"from_group", group.margins.group_in_input},
                     {"from_heads", origins(classes, place * readers + i)},
                     {"qk_rank", group.margins.qk_rank},
                     {"vo_rank", group.margins.vo_rank},
                     {"qk_gap", group.qk_gap},
                     {"vo_gap", group.vo_gap},
                     {"sign_margin", sign_margin},
                     {"order_margin", finite(group.margins.order_margin)},
                     {"merge_margin", finite(group.margins.merge_margin)},
                     {"shares_a_circuit", group.margins.shares_a_circuit},
                     {"expected_change", group.expected_change},
                     {"stable", group.stable}});
  }
  return heads;
}

void print_json(const RewriteOptions& options, const std::vector<LayerReport>& layers, Index readers,
                const std::vector<std::string>& unread) {
  json list = json::array();
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    json heads = json::array();
    const LayerReport& report = layers[layer];
    for (std::size_t place = 0; place < report.groups.size(); ++place) {
      for (const json& head :
           group_json(report.groups[place], report.classes, static_cast<Index>(place), readers))
        heads.push_back(head);
    }
    list.push_back({{"layer", layer}, {"heads", heads}});
  }
  const json object{{"schema", "attnsym.canonicalize/1"},
                    {"output", options.out.string()},
                    {"unread", unread},
                    {"layers", list}};
  print_object(object);
}

// What merging and dropping did, if it did anything.
void print_degenerate(std::size_t layer, const HeadClasses& classes) {
  for (const HeadClass& one : classes) {
    if (one.a.empty() || (one.a.size() == 1 && !one.b.empty())) continue;
    const std::string what = one.b.empty()
                                 ? one.a.size() == 1 ? "adds nothing" : "add nothing together"
                                 : "attend alike: their sum is in head" + in_words(one.b) + " of OUT";
    std::printf("layer %zu: head%s of IN %s\n", layer, in_words(one.a).c_str(), what.c_str());
  }
}

void print_text(const RewriteOptions& options, const std::vector<LayerReport>& layers) {
  std::printf("%s: canonical form written\n\n", options.out.string().c_str());
  std::printf(
      "layer  groups stable  largest expected change  smallest gap  smallest sign margin  smallest order "
      "margin\n");
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    std::size_t stable = 0;
    double change = 0;
    double gap = 1;
    double sign = 1;
    double order = 1;
    for (const GroupReport& group : layers[layer].groups) {
      stable += group.stable ? 1 : 0;
      change = std::max(change, group.expected_change);
      gap = std::min({gap, group.qk_gap, group.vo_gap});
      sign = std::min({sign, group.margins.qk_sign_margin, group.margins.vo_sign_margin});
      order = std::min(order, group.margins.order_margin);
    }
    const std::string count = std::to_string(stable) + " of " + std::to_string(layers[layer].groups.size());
    std::printf("%-5zu  %-13s  %-23s  %-12s  %-20s  %s\n", layer, count.c_str(), brief(change).c_str(),
                brief(gap).c_str(), brief(sign).c_str(), brief(order).c_str());
  }
  for (std::size_t layer = 0; layer < layers.size(); ++layer) print_degenerate(layer, layers[layer].classes);
}

ExitStatus run_canonicalize(const RewriteOptions& options) {
  const Model model = open_model(options.in, options.files);
  std::vector<LayerReport> layers(model.layers());
  rewrite_model(options, model, "canonicalize", 0, [&](std::size_t layer, RoundedAttention module) {
    const HeadPrecision<double> precision = stored_precision(
        module, [&] { return read_attention(model.checkpoint, static_cast<Index>(layer), Radii::Decoded); });
    Canonical<double> canonical = canonicalize(std::move(module.weights), module.config, precision);
    for (const auto& margins : canonical.margins)
      layers[layer].groups.push_back(report(module.config, margins, precision.unit));
    layers[layer].classes = canonical.classes;
    RewrittenLayer rewritten{std::move(canonical.weights), std::move(canonical.classes)};
    if (canonical.canonical_from_input) rewritten.evidence = *std::move(canonical.canonical_from_input);
    return rewritten;
  });
  const std::vector<std::string> unread = unread_tensors(Unread::ByFamily, {&model});
  if (options.as_json) {
    print_json(options, layers, attention_config(model.checkpoint, 0).readers_per_group(), unread);
  } else {
    print_text(options, layers);
    print_unread(unread);
  }
  return ExitStatus::yes;
}

}  // namespace

void setup_canonicalize(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<RewriteOptions>();
  auto scope = std::make_shared<std::string>("attention");
  CLI::App* command = app.add_subcommand(
      "canonicalize", "Write the same model with its attention weights, or all weights, in canonical form");
  add_rewrite_options(*command, *options);
  command
      ->add_option(
          "--scope", *scope,
          "What is brought into canonical form: attention, the neurons of MLPs, or the whole model with "
          "gains folded and the stream on its principal axes, where its family allows that")
      ->check(CLI::IsMember({"attention", "mlp", "model"}))
      ->capture_default_str();
  command->footer(
      "Balanced gauges, fixed signs, free biases zero, heads in a fixed order; heads that attend alike are "
      "merged, heads that add nothing become zero. Two checkpoints of one shape that compute the same "
      "attention "
      "get the same canonical form, up to rounding divided by the reported margins.");
  command->callback([options, scope, command, &status] {
    if (*scope == "attention") {
      status = run_canonicalize(*options);
      return;
    }
    if (command->count("--certificate") > 0)
      throw CLI::ValidationError("--certificate is about attention modules, not --scope " + *scope);
    status = canonicalize_whole(*options, open_model(options->in, options->files), *scope == "mlp");
  });
}

}  // namespace attnsym
