#include "tools/models_report.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/output.hpp"
#include "tools/unread.hpp"

namespace attnsym {

const char* name_of(Outputs outputs) { return outputs == Outputs::Logits ? "logits" : "probabilities"; }

namespace {

using nlohmann::json;

json entries_json(const EntryComparison& entries) {
  return {{"ratio", entries.ratio},
          {"largest_ratio", entries.largest_ratio()},
          {"limit", entries.limit},
          {"resolution", entries.resolution},
          {"agrees", entries.agrees()}};
}

json block_json(std::size_t layer, const BlockDecision& block) {
  json image = json::array();
  for (const HeadComparison& head : block.attention.heads) image.push_back(head.image);
  return {{"layer", layer},
          {"attention",
           {{"verdict", attnsym::name_of(block.attention.verdict)},
            {"rounding_ratio", block.attention.rounding_ratio()},
            {"head_image", image}}},
          {"mlp",
           {{"neurons", entries_json(block.mlp.neurons)},
            {"bias", entries_json(block.mlp.constant)},
            {"in_order", block.mlp.in_order},
            {"smallest_scale", block.mlp.smallest_scale},
            {"largest_scale", block.mlp.largest_scale}}},
          {"norms", entries_json(block.norms)},
          {"difference", block.difference()}};
}

json witness_json(const ModelDecision& decision) {
  if (decision.verdict != ModelVerdict::Distinct || !decision.witness) return nullptr;
  const TokenWitness& witness = *decision.witness;
  return {{"tokens", witness.tokens},     {"position", witness.position}, {"output", witness.output},
          {"output_a", witness.output_a}, {"output_b", witness.output_b}, {"gap", witness.gap},
          {"noise", witness.noise}};
}

}  // namespace

void print_json(const ModelCheckResult& result) {
  const ModelDecision& decision = result.decision;
  json parts = json::array();
  for (const OuterComparison& outer : decision.outer) {
    json part = entries_json(outer.entries);
    part["part"] = outer.part;
    parts.push_back(part);
  }
  json blocks = json::array();
  for (std::size_t layer = 0; layer < decision.blocks.size(); ++layer)
    blocks.push_back(block_json(layer, decision.blocks[layer]));
  const json object{
      {"schema", "attnsym.check/1"},
      {"verdict", attnsym::name_of(decision.verdict)},
      {"reason", decision.reason},
      {"scope", "model"},
      {"outputs", name_of(result.outputs)},
      {"seed", result.seed},
      {"stream", decision.stream_found ? json(attnsym::name_of(decision.stream)) : json()},
      {"unread", result.unread},
      {"parts", parts},
      {"blocks", blocks},
      {"first_difference", decision.first_difference ? json(*decision.first_difference) : json()},
      {"witness", witness_json(decision)},
      {"certificate", result.certificate ? json(*result.certificate) : json()},
      {"explanation", result.explanation ? explanation_json(*result.explanation) : json()},
      {"bytes_read", result.bytes_read},
      {"seconds", result.seconds}};
  print_object(object);
}

namespace {

void print_row(const std::string& part, const char* verdict, double ratio, double limit, double resolution) {
  std::printf("%-22s  %-10s  %-8s  %-8s  %s\n", part.c_str(), verdict, brief(ratio).c_str(),
              brief(limit).c_str(), brief(resolution).c_str());
}

void print_entries(const std::string& part, const EntryComparison& entries) {
  const char* verdict = entries.is_exact ? "identical" : entries.agrees() ? "agrees" : "differs";
  print_row(part, verdict, entries.ratio, entries.limit, entries.resolution);
}

void print_block(std::size_t layer, const BlockDecision& block) {
  const std::string name = "block " + std::to_string(layer);
  const HeadComparison* head =
      block.attention.heads.empty() ? nullptr : &block.attention.heads[block.attention.worst_head];
  print_row(name + " attention", attnsym::name_of(block.attention.verdict), block.attention.rounding_ratio(),
            head != nullptr ? std::max(head->qk.limit, head->vo.limit) : 0, block.attention.resolution());
  print_entries(name + " MLP", worse(block.mlp.neurons, block.mlp.constant));
}

void print_witness(const TokenWitness& witness, const std::optional<Index>& numbers_per_patch) {
  std::printf(numbers_per_patch ? "\npatches" : "\ntokens ");
  for (const Index token : witness.tokens) std::printf(" %td", token);
  if (numbers_per_patch)
    std::printf(" (the number of each that is 1, all others 0; %td for none)", *numbers_per_patch);
  std::printf("\noutput %td at position %td is %.9g in A and %.9g in B\n", witness.output, witness.position,
              witness.output_a, witness.output_b);
}

void print_why(const ModelCheckResult& result) {
  std::printf("\nexplanation\n");
  if (result.decision.first_difference || result.decision.different_architecture) {
    print_explanation(*result.explanation);
  } else {
    std::printf("no part differs by more than rounding\n");
  }
}

}  // namespace

void print_text(const ModelCheckResult& result) {
  const ModelDecision& decision = result.decision;
  std::printf("%s: %s\n\n", attnsym::name_of(decision.verdict), decision.reason.c_str());
  std::printf("scope   the whole model, %s\n", name_of(result.outputs));
  std::printf("stream  %s\n", decision.stream_found ? attnsym::name_of(decision.stream)
                                                    : "no change of basis found; compared as it is");
  std::printf("seed    %llu\n", static_cast<unsigned long long>(result.seed));
  print_unread(result.unread);
  std::printf("\n");
  if (!decision.blocks.empty()) {
    std::printf("%-22s  %-10s  %-8s  %-8s  %s\n", "part", "verdict", "ratio", "limit", "resolution");
    for (const OuterComparison& outer : decision.outer) {
      if (!outer.reads_stream) print_entries(outer.part, outer.entries);
    }
    for (std::size_t layer = 0; layer < decision.blocks.size(); ++layer)
      print_block(layer, decision.blocks[layer]);
    for (const OuterComparison& outer : decision.outer) {
      if (outer.reads_stream) print_entries(outer.part, outer.entries);
    }
  }
  if (decision.verdict == ModelVerdict::Distinct && decision.witness)
    print_witness(*decision.witness, result.numbers_per_patch);
  if (result.explanation) print_why(result);
  if (result.certificate) std::printf("\ncertificate  %s\n", result.certificate->c_str());
}

}  // namespace attnsym
