#include "tools/explanation.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "tools/output.hpp"
#include "verify/slips/find_slips.hpp"
#include "verify/stored_circuit.hpp"

namespace attnsym {
namespace {

bool differs(const Decision& decision) {
  const bool decided = std::holds_alternative<Identical>(decision.verdict) ||
                       std::holds_alternative<Equivalent>(decision.verdict);
  const bool agree = decision.heads_agree() || decision.classes_agree();
  return !decided && !(agree && decision.constant.explained_by_rounding());
}

bool same_shape(const AttentionConfig& a, const AttentionConfig& b) {
  return a.heads == b.heads && a.groups == b.groups && a.key_width == b.key_width &&
         a.value_width == b.value_width;
}

const LinearNames& names_of(const Layout& layout, Projection projection) {
  switch (projection) {
    case Projection::Query:
      return layout.query;
    case Projection::Key:
      return layout.key;
    case Projection::Value:
      return layout.value;
    case Projection::Output:
      break;
  }
  return layout.output;
}

// The tensor of B that holds a projection of a layer.
std::string tensor_of(const Checkpoint& checkpoint, Projection projection, Index layer) {
  return checkpoint.require(names_of(checkpoint.layout(), projection).weight, layer).info->name;
}

std::vector<std::string> tensors_of(const Checkpoint& checkpoint, const Slip& slip, Index layer) {
  std::vector<std::string> names;
  const Layout& layout = checkpoint.layout();
  if (slip.scales_scores && !layout.query_norm.empty()) {
    for (const std::string& norm : {layout.query_norm, layout.key_norm})
      names.push_back(checkpoint.require(norm, layer).info->name);
    return names;
  }
  for (const Projection projection : slip.projections) {
    std::string name = tensor_of(checkpoint, projection, layer);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
  }
  return names;
}

std::vector<Index> heads_by_ratio(const Decision& decision) {
  std::vector<HeadComparison> heads;
  std::copy_if(decision.heads.begin(), decision.heads.end(), std::back_inserter(heads),
               [](const HeadComparison& head) { return !head.explained_by_rounding(); });
  std::stable_sort(heads.begin(), heads.end(), [](const HeadComparison& x, const HeadComparison& y) {
    return x.largest_ratio() > y.largest_ratio();
  });
  std::vector<Index> order(heads.size());
  std::ranges::transform(heads, order.begin(), &HeadComparison::head);
  return order;
}

using Slips = std::optional<std::vector<Slip>>;

class Explainer {
 public:
  Explainer(const Model& a, const Model& b, ModulePair modules)
      : a_(a.checkpoint), b_(b.checkpoint), modules_(std::move(modules)) {
    if (!modules_) modules_ = [this](Index layer) { return stored(layer); };
  }

  // @param likely  what another layer has: tried first
  Slips slips_of(std::size_t layer, const Slips& likely) const {
    auto [a, b] = modules_(static_cast<Index>(layer));
    return likely && slips_explain(a, b, *likely) ? likely : find_slips(std::move(a), std::move(b));
  }

  // @param slips  of this layer
  LayerExplanation operator()(std::size_t layer, const Decision& decision, const Slips& slips) const {
    const auto index = static_cast<Index>(layer);
    LayerExplanation result;
    result.layer = layer;
    result.ratio = decision.largest_ratio();
    if (!decision.constant.explained_by_rounding())
      result.ratio = std::max(result.ratio, decision.constant.ratio);
    if (std::isnan(result.ratio)) result.ratio = std::numeric_limits<double>::infinity();
    if (slips) {
      for (const Slip& slip : *slips) result.slips.push_back({slip.text, tensors_of(b_, slip, index)});
      return result;
    }
    result.heads = heads_by_ratio(decision);
    const auto [a, b] = stored(index);
    if (!same_shape(a.config, b.config)) return result;
    result.differences = projection_differences(with_all_biases(a), with_all_biases(b));
    for (const ProjectionDifference& one : result.differences)
      result.tensors.push_back(tensor_of(b_, one.projection, index));
    const auto note = [&](const std::string& in_a, const std::string& in_b) {
      note_difference(result.vectors, a_.find(in_a, index), b_.find(in_b, index));
    };
    for (const auto linear : {&Layout::query, &Layout::key, &Layout::value, &Layout::output})
      note((a_.layout().*linear).bias, (b_.layout().*linear).bias);
    for (const auto name : {&Layout::query_norm, &Layout::key_norm})
      note(a_.layout().*name, b_.layout().*name);
    return result;
  }

 private:
  std::array<StoredAttention, 2> stored(Index layer) const {
    return {read_attention(a_, layer), read_attention(b_, layer)};
  }

  const Checkpoint& a_;
  const Checkpoint& b_;
  ModulePair modules_;
};

// "layer 3" or "layers 0 to 3".
std::string layers_text(std::size_t first, std::size_t last) {
  return first == last ? "layer " + std::to_string(first)
                       : "layers " + std::to_string(first) + " to " + std::to_string(last);
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

bool same_texts(const LayerExplanation& x, const LayerExplanation& y) {
  return std::equal(x.slips.begin(), x.slips.end(), y.slips.begin(), y.slips.end(),
                    [](const NamedSlip& s, const NamedSlip& t) { return s.text == t.text; });
}

// The tensor of one layer, or as it is called in all.
std::string with_any_layer(std::string tensor, std::size_t layer) {
  const std::string number = "." + std::to_string(layer) + ".";
  const std::size_t place = tensor.find(number);
  return place == std::string::npos ? tensor : tensor.replace(place, number.size(), ".{layer}.");
}

void print_slips(const LayerExplanation& first, std::size_t last) {
  std::printf("%s of B would compute what A computes, but for\n", layers_text(first.layer, last).c_str());
  for (const NamedSlip& slip : first.slips) {
    std::vector<std::string> tensors = slip.tensors;
    if (last > first.layer)
      for (std::string& tensor : tensors) tensor = with_any_layer(std::move(tensor), first.layer);
    const std::string where = tensors.empty() ? "the configuration" : joined(tensors);
    std::printf("  %s: %s\n", where.c_str(), slip.text.c_str());
  }
}

void print_differences(const LayerExplanation& layer) {
  std::printf("%s: no slip that this program knows explains the difference (largest rounding ratio %s)\n",
              layers_text(layer.layer, layer.layer).c_str(), brief(layer.ratio).c_str());
  if (!layer.heads.empty()) {
    std::printf("  heads that differ, the worst first:");
    for (const Index head : layer.heads) std::printf(" %td", head);
    std::printf("\n");
  }
  for (std::size_t i = 0; i < layer.differences.size(); ++i) {
    const ProjectionDifference& one = layer.differences[i];
    std::printf("  %s: %s", layer.tensors[i].c_str(), describe(one).c_str());
    if (one.changed > 0)
      std::printf("; %s %% of the numbers, relative size %s", brief(100 * one.changed).c_str(),
                  brief(one.relative).c_str());
    std::printf("\n");
  }
  for (const NamedDifference& one : layer.vectors) std::printf("  %s\n", describe(one).c_str());
}

}  // namespace

std::vector<LayerExplanation> explain_differences(const Model& a, const Model& b,
                                                  const std::vector<Decision>& decisions, const RunTasks& run,
                                                  ModulePair modules) {
  const Explainer explain(a, b, std::move(modules));
  std::vector<std::size_t> layers;
  for (std::size_t layer = 0; layer < decisions.size(); ++layer) {
    if (differs(decisions[layer])) layers.push_back(layer);
  }
  std::vector<LayerExplanation> result(layers.size());
  const Slips likely = layers.empty() ? std::nullopt : explain.slips_of(layers.front(), std::nullopt);
  run(layers.size(), [&](std::size_t i) {
    const std::size_t layer = layers[i];
    result[i] = explain(layer, decisions[layer], i == 0 ? likely : explain.slips_of(layer, likely));
  });
  const auto others = std::stable_partition(result.begin(), result.end(),
                                            [](const LayerExplanation& one) { return !one.slips.empty(); });
  std::stable_sort(others, result.end(),
                   [](const LayerExplanation& x, const LayerExplanation& y) { return x.ratio > y.ratio; });
  return result;
}

void print_explanation(const std::vector<LayerExplanation>& layers) {
  std::printf("\nexplanation\n");
  if (layers.empty()) std::printf("no layer differs by more than rounding\n");
  print_layers(layers);
}

void print_layers(const std::vector<LayerExplanation>& layers) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].slips.empty()) {
      print_differences(layers[i]);
      continue;
    }
    std::size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1].layer == layers[last].layer + 1 &&
           same_texts(layers[last + 1], layers[i]))
      ++last;
    print_slips(layers[i], layers[last].layer);
    i = last;
  }
}

nlohmann::json explanation_json(const std::vector<LayerExplanation>& layers) {
  using nlohmann::json;
  json result = json::array();
  for (const LayerExplanation& layer : layers) {
    json slips = json::array();
    for (const NamedSlip& slip : layer.slips)
      slips.push_back({{"text", slip.text}, {"tensors", slip.tensors}});
    json differences = json::array();
    for (std::size_t i = 0; i < layer.differences.size(); ++i) {
      const ProjectionDifference& one = layer.differences[i];
      differences.push_back({{"tensor", layer.tensors[i]},
                             {"kind", describe(one)},
                             {"relative", one.relative},
                             {"changed", one.changed}});
    }
    json vectors = json::array();
    for (const NamedDifference& one : layer.vectors) vectors.push_back(difference_json(one));
    result.push_back({{"layer", layer.layer},
                      {"ratio", layer.ratio},
                      {"slips", slips},
                      {"heads", layer.heads},
                      {"differences", differences},
                      {"vectors", vectors}});
  }
  return result;
}

}  // namespace attnsym
