#include "tools/check_report.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "checkpoint/printable.hpp"
#include "tools/output.hpp"
#include "tools/unread.hpp"

namespace attnsym {
namespace {

using nlohmann::json;

json optional_number(const std::optional<double>& value) { return value ? json(*value) : json(); }
json optional_text(const std::optional<std::string>& value) { return value ? json(*value) : json(); }

json head_json(const HeadComparison& head) {
  return {{"head", head.head},
          {"image", head.image},
          {"qk_ratio", head.qk.ratio},
          {"vo_ratio", head.vo.ratio},
          {"largest_row_ratio", std::max(head.qk.largest_row_ratio, head.vo.largest_row_ratio)},
          {"largest_column_ratio", std::max(head.qk.largest_column_ratio, head.vo.largest_column_ratio)},
          {"resolution", head.resolution()}};
}

json class_json(const ClassComparison& one) {
  return {{"heads_a", one.heads.a},
          {"heads_b", one.heads.b},
          {"qk_ratio", one.qk.largest_ratio()},
          {"vo_ratio", one.vo.largest_ratio()},
          {"hidden_difference", one.hidden_difference()}};
}

json layer_json(std::size_t layer, const Decision& decision) {
  json heads = json::array();
  json image = json::array();
  for (const HeadComparison& head : decision.heads) {
    heads.push_back(head_json(head));
    image.push_back(head.image);
  }
  json classes = json::array();
  for (const ClassComparison& one : decision.classes) classes.push_back(class_json(one));
  return {{"layer", layer},
          {"module", "attention"},
          {"verdict", name_of(decision.verdict)},
          {"head_image", image},
          {"rounding_ratio", decision.rounding_ratio()},
          {"constant_ratio", decision.constant.ratio},
          {"resolution", decision.resolution()},
          {"gauge_condition", optional_number(decision.gauge_condition)},
          {"output_bound", optional_number(decision.output_bound)},
          {"heads", heads},
          {"classes", classes}};
}

json exact_json(const CheckResult& result) {
  if (!result.error_probability) return nullptr;
  return {{"error_probability", *result.error_probability}};
}

json ladder_json(const CheckResult& result) {
  if (!result.ladder) return nullptr;
  json rungs = json::array();
  for (const Rung& rung : result.ladder->rungs)
    rungs.push_back({{"arithmetic", rung.arithmetic}, {"unit", rung.unit}, {"residual", rung.residual}});
  return {{"layer", result.worst_layer},
          {"rungs", rungs},
          {"slope", result.ladder->slope()},
          {"reading", result.ladder->reading()}};
}

json witness_json(const CheckResult& result) {
  if (result.layers.empty()) return nullptr;
  const auto* distinct = std::get_if<Distinct>(&result.worst().verdict);
  if (distinct == nullptr) return nullptr;
  return {{"file", optional_text(result.witness_file)},
          {"layer", result.worst_layer},
          {"gap", distinct->witness.gap},
          {"gap_at_least", distinct->witness.gap_at_least},
          {"apart_at_least", distinct->witness.apart_at_least},
          {"noise", distinct->witness.noise}};
}

json worst_json(const CheckResult& result) {
  if (result.layers.empty()) return nullptr;
  const Decision& worst = result.worst();
  const double ratio = worst.heads.empty() ? 0 : worst.heads[worst.worst_head].largest_ratio();
  return {{"layer", result.worst_layer}, {"head", worst.worst_head}, {"rounding_ratio", ratio}};
}

}  // namespace

void print_json(const CheckResult& result) {
  json layers = json::array();
  for (std::size_t i = 0; i < result.layers.size(); ++i) layers.push_back(layer_json(i, result.layers[i]));
  const json object{{"schema", "attnsym.check/1"},
                    {"verdict", result.verdict},
                    {"reason", result.reason},
                    {"group", result.group},
                    {"scope", result.scope},
                    {"seed", result.seed},
                    {"unread", result.unread},
                    {"layers", layers},
                    {"worst", worst_json(result)},
                    {"witness", witness_json(result)},
                    {"exact", exact_json(result)},
                    {"ladder", ladder_json(result)},
                    {"explanation", result.explanation ? explanation_json(*result.explanation) : json()},
                    {"certificate", optional_text(result.certificate)},
                    {"bytes_read", result.bytes_read},
                    {"seconds", result.seconds}};
  print_object(object);
}

namespace {

std::string joined(const std::vector<Index>& heads) {
  std::string text;
  for (const Index head : heads) text += (text.empty() ? "" : "+") + std::to_string(head);
  return text;
}

// The image of every head, or, for merged heads, which sums are equal: "0+1=2" (no head at all is "none").
std::string image_text(const Decision& decision) {
  std::string text;
  if (decision.classes_agree()) {
    for (const ClassComparison& one : decision.classes) {
      const auto side = [](const std::vector<Index>& heads) {
        return heads.empty() ? "none" : joined(heads);
      };
      text += (text.empty() ? "" : " ") + side(one.heads.a) + "=" + side(one.heads.b);
    }
    return text;
  }
  for (const HeadComparison& head : decision.heads)
    text += (text.empty() ? "" : " ") + std::to_string(head.image);
  return text.empty() ? "-" : text;
}

void print_ladder(const CheckResult& result) {
  std::printf("\nprecision ladder, layer %zu, one input of three tokens\n", result.worst_layer);
  for (const Rung& rung : result.ladder->rungs)
    std::printf("%-12s  residual %s\n", rung.arithmetic.c_str(), brief(rung.residual).c_str());
  std::printf("slope %s: %s\n", brief(result.ladder->slope()).c_str(), result.ladder->reading().c_str());
}

std::string brief_or_unknown(const std::optional<double>& value) { return value ? brief(*value) : "unknown"; }

void print_exactness(double error_probability) {
  std::printf("exact  the stored numbers, nothing rounded");
  if (error_probability > 0)
    std::printf("; wrong with probability below %s", brief(error_probability).c_str());
  std::printf("\n");
}

void print_verdicts(const std::vector<Decision>& layers) {
  std::printf("layer  verdict\n");
  for (std::size_t i = 0; i < layers.size(); ++i) std::printf("%-5zu  %s\n", i, name_of(layers[i].verdict));
}

void print_figures(const std::vector<Decision>& layers) {
  std::size_t width = 10;
  for (const Decision& layer : layers) width = std::max(width, image_text(layer).size());
  std::printf("layer  verdict     %-*s  ratio     resolution  condition  output bound\n",
              static_cast<int>(width), "heads of B");
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Decision& layer = layers[i];
    std::printf("%-5zu  %-10s  %-*s  %-8s  %-10s  %-9s  %s\n", i, name_of(layer.verdict),
                static_cast<int>(width), image_text(layer).c_str(), brief(layer.rounding_ratio()).c_str(),
                brief(layer.resolution()).c_str(), brief_or_unknown(layer.gauge_condition).c_str(),
                brief_or_unknown(layer.output_bound).c_str());
  }
}

}  // namespace

void print_text(const CheckResult& result) {
  const bool are_equal = result.verdict == "identical" || result.verdict == "equivalent";
  std::printf("%s: %s%s\n\n", result.verdict.c_str(), are_equal ? "attention alone: " : "",
              printable(result.reason).c_str());
  std::printf("scope  attention only; embeddings, norms and MLPs are not compared\n");
  if (result.layers.empty()) return print_unread(result.unread);
  std::printf("group  %s\n", result.group.c_str());
  std::printf("seed   %llu\n", static_cast<unsigned long long>(result.seed));
  if (result.error_probability) print_exactness(*result.error_probability);
  print_unread(result.unread);
  std::printf("\n");
  result.error_probability ? print_verdicts(result.layers) : print_figures(result.layers);
  if (result.explanation) print_explanation(*result.explanation);
  if (result.ladder) print_ladder(result);
  if (result.certificate) std::printf("\ncertificate  %s\n", result.certificate->c_str());
  if (result.witness_file) std::printf("\nwitness  %s\n", result.witness_file->c_str());
}

}  // namespace attnsym
