#include "tools/model_explanation.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "checkpoint/outer_tensors.hpp"
#include "tools/output.hpp"
#include "verify/slips/model_slips.hpp"

namespace attnsym {
namespace {

using Tensors = std::vector<std::optional<StoredTensor>>;

Tensors tensors_of(const std::optional<LinearTensors>& linear) {
  if (!linear) return {std::nullopt, std::nullopt};
  return {linear->weight, linear->bias};
}

Tensors joined(std::initializer_list<Tensors> lists) {
  Tensors result;
  for (const Tensors& some : lists) result.insert(result.end(), some.begin(), some.end());
  return result;
}

// Behind which an MLP or attention reads: a norm of its own, or where there is none that behind what wrote
// last.
Tensors norm_before(const OuterTensors& tensors, NormPlace own, NormPlace last, Index layer) {
  const auto norm = tensors.norm(own, layer);
  return tensors_of(norm ? norm : tensors.norm(last, layer));
}

Tensors norm_before_attention(const OuterTensors& tensors, Index layer) {
  if (layer == 0) return norm_before(tensors, NormPlace::AttentionInput, NormPlace::Embedding, 0);
  const Tensors own = tensors_of(tensors.norm(NormPlace::AttentionInput, layer));
  return own.front() ? own : tensors_of(tensors.norm(NormPlace::MlpOutput, layer - 1));
}

Tensors mlp_tensors(const OuterTensors& tensors, Index layer) {
  const MlpTensors mlp = tensors.mlp(layer);
  return joined({tensors_of(mlp.gate), tensors_of(mlp.up), tensors_of(mlp.down),
                 norm_before(tensors, NormPlace::MlpInput, NormPlace::AttentionOutput, layer)});
}

Tensors norms_behind(const OuterTensors& tensors, Index layer) {
  return joined({tensors_of(tensors.norm(NormPlace::AttentionOutput, layer)),
                 tensors_of(tensors.norm(NormPlace::MlpOutput, layer))});
}

// What all rows of one have in common is added to the embeddings.
Tensors positions_and_types(const OuterTensors& tensors) {
  Tensors result{tensors.table(Table::Positions), tensors.table(Table::TokenTypes)};
  for (const StoredTensor& type : tensors.types_apart()) result.emplace_back(type);
  return result;
}

Tensors transform_tensors(const std::optional<TransformTensors>& transform) {
  if (!transform) return {};
  return joined({tensors_of(transform->dense), tensors_of(transform->norm)});
}

Tensors task_tensors(const OuterTensors& tensors) {
  const auto task = tensors.task();
  if (!task) return {};
  return joined({transform_tensors(task->transform), tensors_of(task->output)});
}

// The tensors that make a part that is outside of blocks.
// @param tied  in both models, if the head is the embeddings in one
Tensors outer_tensors(const OuterTensors& tensors, const std::string& part, Index blocks, bool tied) {
  if (part == "embeddings") return joined({{tensors.table(Table::Embedding)}, positions_and_types(tensors)});
  if (part == "positions") return positions_and_types(tensors);
  if (part == "token types") return {tensors.table(Table::TokenTypes)};
  if (part == "norm of embeddings") return tensors_of(tensors.norm(NormPlace::Embedding, 0));
  Tensors result = norm_before(tensors, NormPlace::Final, NormPlace::MlpOutput, blocks - 1);
  if (part == "transform of the head") return joined({transform_tensors(tensors.head_transform()), result});
  if (part.starts_with("task ")) return joined({task_tensors(tensors), result});
  const bool has_head = tied || tensors.head() == Head::Own;
  result.push_back(has_head ? tensors.table(Table::Unembedding) : std::nullopt);
  if (part != "unembedding") result.push_back(tensors.head_bias());
  return result;
}

constexpr double infinite = std::numeric_limits<double>::infinity();

double over_the_limit(const EntryComparison& entries) {
  const double ratio = entries.largest_ratio() / entries.limit;
  return std::isnan(ratio) ? infinite : ratio;
}

// The parts that differ.
class PartList {
 public:
  PartList(const Model& a, const Model& b) : a_(a.checkpoint), b_(b.checkpoint) {}

  // @param tensors_of  the tensors of the part in a model
  template <class TensorsOf>
  void add(const std::string& name, double ratio, TensorsOf tensors_of) {
    parts_.push_back({{name, ratio, {}}, tensors_of(a_), tensors_of(b_)});
  }

  // Whether the head is the embeddings in both.
  bool are_tied() const { return a_.head() == Head::Tied && b_.head() == Head::Tied; }

  // With what became of their tensors, the largest ratio first.
  std::vector<PartExplanation> explained(const RunTasks& run) {
    run(parts_.size(), [this](std::size_t i) {
      Part& part = parts_[i];
      for (std::size_t k = 0; k < part.in_a.size(); ++k)
        note_difference(part.explanation.tensors, part.in_a[k], part.in_b[k]);
    });
    std::vector<PartExplanation> result;
    for (Part& part : parts_) result.push_back(std::move(part.explanation));
    std::ranges::stable_sort(result, std::greater<>(), &PartExplanation::ratio);
    return result;
  }

 private:
  struct Part {
    PartExplanation explanation;
    Tensors in_a;
    Tensors in_b;
  };

  OuterTensors a_;
  OuterTensors b_;
  std::vector<Part> parts_;
};

std::vector<PartExplanation> differing_parts(const Model& a, const Model& b, const ModelDecision& decision,
                                             const RunTasks& run) {
  PartList list(a, b);
  for (const OuterComparison& outer : decision.outer) {
    if (outer.entries.agrees()) continue;
    list.add(outer.part, over_the_limit(outer.entries), [&](const OuterTensors& tensors) {
      return outer_tensors(tensors, outer.part, static_cast<Index>(decision.blocks.size()), list.are_tied());
    });
  }
  for (std::size_t block = 0; block < decision.blocks.size(); ++block) {
    const auto layer = static_cast<Index>(block);
    const std::string name = "block " + std::to_string(block);
    const BlockDecision& one = decision.blocks[block];
    if (!one.mlp.agrees()) {
      const double ratio = over_the_limit(worse(one.mlp.neurons, one.mlp.constant));
      list.add(name + " MLP", one.mlp.same_count ? ratio : infinite,
               [&](const OuterTensors& tensors) { return mlp_tensors(tensors, layer); });
    }
    if (!one.norms.agrees()) {
      list.add(name + " norms behind attention or MLP", over_the_limit(one.norms),
               [&](const OuterTensors& tensors) { return norms_behind(tensors, layer); });
    }
  }
  return list.explained(run);
}

void print_parts(const std::vector<PartExplanation>& parts) {
  for (const PartExplanation& part : parts) {
    const std::string times =
        std::isfinite(part.ratio) ? ", " + brief(part.ratio) + " times what rounding may leave" : "";
    std::printf("%s: no slip that this program knows explains the difference%s\n", part.name.c_str(),
                times.c_str());
    for (const NamedDifference& one : part.tensors) std::printf("  %s\n", describe(one).c_str());
  }
}

// What feeds the attention of layers where no slip is known.
void note_norms(const OuterTensors& a, const OuterTensors& b, LayerExplanation& layer) {
  if (!layer.slips.empty()) return;
  const auto index = static_cast<Index>(layer.layer);
  const Tensors in_a = norm_before_attention(a, index);
  const Tensors in_b = norm_before_attention(b, index);
  for (std::size_t i = 0; i < in_a.size(); ++i) note_difference(layer.vectors, in_a[i], in_b[i]);
}

}  // namespace

ModelExplanation explain_models(const Model& a, const Model& b, const StoredModel& model_a,
                                const StoredModel& model_b, const ModelDecision& decision,
                                const ModelDecideOptions& options) {
  ModelExplanation result;
  MendedModel mended = mend(model_a, model_b, decision, options);
  result.slips = mended.slips;
  if (mended.decision.different_architecture) return result;
  if (!agrees_outside_attention(mended.decision))
    result.parts = differing_parts(a, b, mended.decision, options.run_parts);
  std::vector<Decision> attention;
  for (BlockDecision& block : mended.decision.blocks) attention.push_back(std::move(block.attention));
  const ModelPieces pieces(model_a, mended.last(model_b), mended.decision.stream, options.outputs);
  result.attention = explain_differences(a, b, attention, options.run_modules, [&](Index layer) {
    return std::array{pieces.attention_of_a(layer), pieces.attention_of_b(layer)};
  });
  const OuterTensors tensors_a(a.checkpoint);
  const OuterTensors tensors_b(b.checkpoint);
  for (LayerExplanation& layer : result.attention) note_norms(tensors_a, tensors_b, layer);
  return result;
}

void print_explanation(const ModelExplanation& explanation) {
  const bool only_slips = explanation.attention.empty() && explanation.parts.empty();
  if (!explanation.slips.empty()) {
    std::printf("%s\n", !explanation.parts.empty() ? "B has slips that do not explain everything:"
                        : only_slips               ? "B would be the model A, but for"
                                                   : "B would be the model A outside of attention, but for");
    for (const std::string& slip : explanation.slips) std::printf("  %s\n", slip.c_str());
  } else if (only_slips) {
    std::printf("no slip that this program knows explains the difference\n");
  }
  print_layers(explanation.attention);
  print_parts(explanation.parts);
}

nlohmann::json explanation_json(const ModelExplanation& explanation) {
  using nlohmann::json;
  json parts = json::array();
  for (const PartExplanation& part : explanation.parts) {
    json tensors = json::array();
    for (const NamedDifference& one : part.tensors) tensors.push_back(difference_json(one));
    parts.push_back({{"part", part.name}, {"ratio", part.ratio}, {"tensors", tensors}});
  }
  return {
      {"slips", explanation.slips}, {"attention", explanation_json(explanation.attention)}, {"parts", parts}};
}

}  // namespace attnsym
