#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "symmetry/canonical.hpp"
#include "tools/commands.hpp"
#include "tools/output.hpp"
#include "tools/rewrite_options.hpp"
#include "verify/rounding.hpp"

namespace attnsym {
namespace {

using nlohmann::json;

// A head counts as stable when rounding of the input can move its canonical weights by no more than this.
constexpr double stable_change = 1e-4;
// A sign or an order counts as fixed when its margin is this many times what rounding can move.
constexpr double margin_factor = 10;

// The canonical form of one group as reported: margins, and what the rounding of IN does to them.
struct GroupReport {
  CanonicalMargins<double> margins;
  double qk_gap = 0;
  double vo_gap = 0;
  double expected_change = 0;
  bool stable = false;
};

// The smallest distance between neighbouring singular values, relative to the largest.
double relative_gap(const RowVector<double>& sigma) {
  if (!(sigma(0) > 0)) return 0;
  double gap = 1;
  for (Index k = 1; k < sigma.size(); ++k) gap = std::min(gap, (sigma(k - 1) - sigma(k)) / sigma(0));
  return gap;
}

// The columns of one factor of a circuit: their squared lengths, and the variance that rounding has left.
struct ColumnSquares {
  RowVector<double> value;
  RowVector<double> noise;
};

// An error spread evenly over +- radius has a variance of a third of its square.
template <class Values, class Radii>
ColumnSquares column_squares(const Values& values, const Radii& radii) {
  return {values.colwise().squaredNorm(), radii.colwise().squaredNorm() / 3};
}

// [N7] The variance of left * right^T, all entries together.
double circuit_noise(const ColumnSquares& left, const ColumnSquares& right) {
  return left.noise.dot(right.value) + left.value.dot(right.noise);
}

// Rounding noise of a group's stacked circuits relative to their norms, which the singular values give.
struct GroupNoise {
  double qk = 0;
  double vo = 0;
};

GroupNoise group_noise(const StoredAttention& module, const CanonicalMargins<double>& margins) {
  const KvGroup<double>& group = module.weights.groups[margins.group_in_input];
  const KvGroup<double>& radius = module.radius.groups[margins.group_in_input];
  const ColumnSquares key = column_squares(group.key, radius.key);
  const ColumnSquares value = column_squares(group.value, radius.value);
  GroupNoise squares;
  for (std::size_t i = 0; i < group.readers.size(); ++i) {
    const QueryHead<double>& reader = group.readers[i];
    const QueryHead<double>& reader_radius = radius.readers[i];
    ColumnSquares query = column_squares(reader.query, reader_radius.query);
    if (reader.query_bias.size() > 0) {
      const ColumnSquares bias = column_squares(reader.query_bias, reader_radius.query_bias);
      query.value += bias.value;
      query.noise += bias.noise;
    }
    squares.qk += circuit_noise(query, key);
    squares.vo +=
        circuit_noise(column_squares(reader.output.transpose(), reader_radius.output.transpose()), value);
  }
  const auto relative = [](double square, const RowVector<double>& sigma) {
    return sigma.norm() > 0 ? std::sqrt(square) / sigma.norm() : 0;
  };
  return {relative(squares.qk, margins.qk_sigma), relative(squares.vo, margins.vo_sigma)};
}

GroupReport report(const StoredAttention& module, const CanonicalMargins<double>& margins, double unit) {
  const Index d = module.config.model_width;
  const Index readers = module.config.readers_per_group();
  const GroupNoise noise = group_noise(module, margins);
  GroupReport result{margins, relative_gap(margins.qk_sigma), relative_gap(margins.vo_sigma)};
  result.expected_change = std::max(expected_change(margins.qk_sigma, readers * (d + 1), d, noise.qk, unit),
                                    expected_change(margins.vo_sigma, readers * d, d, noise.vo, unit));
  const double sign_margin = std::min(margins.qk_sign_margin, margins.vo_sign_margin);
  result.stable = result.expected_change <= stable_change &&
                  sign_margin >= margin_factor * result.expected_change &&
                  margins.order_margin >= margin_factor * std::max(noise.qk, noise.vo);
  return result;
}

json group_json(const GroupReport& group, Index place, Index readers) {
  json heads = json::array();
  const double sign_margin = std::min(group.margins.qk_sign_margin, group.margins.vo_sign_margin);
  for (Index i = 0; i < readers; ++i) {
    heads.push_back({{"head", place * readers + i},
                     {"from_group", group.margins.group_in_input},
                     {"qk_rank", group.margins.qk_rank},
                     {"vo_rank", group.margins.vo_rank},
                     {"qk_gap", group.qk_gap},
                     {"vo_gap", group.vo_gap},
                     {"sign_margin", sign_margin},
                     {"order_margin",
                      std::isfinite(group.margins.order_margin) ? json(group.margins.order_margin) : json()},
                     {"expected_change", group.expected_change},
                     {"stable", group.stable}});
  }
  return heads;
}

using LayerReport = std::vector<GroupReport>;

void print_json(const RewriteOptions& options, const std::vector<LayerReport>& layers, Index readers) {
  json list = json::array();
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    json heads = json::array();
    for (std::size_t place = 0; place < layers[layer].size(); ++place) {
      for (const json& head : group_json(layers[layer][place], static_cast<Index>(place), readers))
        heads.push_back(head);
    }
    list.push_back({{"layer", layer}, {"heads", heads}});
  }
  const json object{{"schema", "attnsym.canonicalize/1"}, {"output", options.out.string()}, {"layers", list}};
  std::printf("%s\n", object.dump(2).c_str());
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
    for (const GroupReport& group : layers[layer]) {
      stable += group.stable ? 1 : 0;
      change = std::max(change, group.expected_change);
      gap = std::min({gap, group.qk_gap, group.vo_gap});
      sign = std::min({sign, group.margins.qk_sign_margin, group.margins.vo_sign_margin});
      order = std::min(order, group.margins.order_margin);
    }
    const std::string count = std::to_string(stable) + " of " + std::to_string(layers[layer].size());
    std::printf("%-5zu  %-13s  %-23s  %-12s  %-20s  %s\n", layer, count.c_str(), brief(change).c_str(),
                brief(gap).c_str(), brief(sign).c_str(), brief(order).c_str());
  }
}

ExitStatus run_canonicalize(const RewriteOptions& options) {
  const Model model = open_model(options.in, options.files);
  std::vector<LayerReport> layers(model.layers());
  rewrite_model(options, model, "canonicalize", 0, [&](std::size_t layer, const StoredAttention& module) {
    const double unit = std::max(storage_unit(module), tolerance<double>());
    Canonical<double> canonical = canonicalize(module.weights, module.config, unit);
    for (const auto& margins : canonical.margins) layers[layer].push_back(report(module, margins, unit));
    return RewrittenLayer{std::move(canonical.weights), std::move(canonical.canonical_from_input)};
  });
  if (options.as_json) {
    print_json(options, layers, attention_config(model.checkpoint, 0).readers_per_group());
  } else {
    print_text(options, layers);
  }
  return ExitStatus::yes;
}

}  // namespace

void setup_canonicalize(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<RewriteOptions>();
  CLI::App* command =
      app.add_subcommand("canonicalize", "Write the same model with its attention weights in canonical form");
  add_rewrite_options(*command, *options);
  command->footer(
      "Balanced gauges, fixed signs, free biases zero, heads in a fixed order. Two checkpoints that differ "
      "by a change "
      "of basis get the same canonical form, up to rounding divided by the reported margins.");
  command->callback([options, &status] { status = run_canonicalize(*options); });
}

}  // namespace attnsym
