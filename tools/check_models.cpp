#include "tools/check_models.hpp"

#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint_model.hpp"
#include "tools/evidence_file.hpp"
#include "tools/output.hpp"

namespace attnsym {
namespace {

using nlohmann::json;

const char* name_of(Outputs outputs) { return outputs == Outputs::Logits ? "logits" : "probabilities"; }

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
  if (decision.verdict != ModelVerdict::Distinct) return nullptr;
  const TokenWitness& witness = *decision.witness;
  return {{"tokens", witness.tokens},     {"position", witness.position}, {"output", witness.output},
          {"output_a", witness.output_a}, {"output_b", witness.output_b}, {"gap", witness.gap},
          {"noise", witness.noise}};
}

void write_certificate(const Model& a, const Model& b, const ModelDecision& decision,
                       const ModelCheckOptions& options) {
  if (decision.verdict == ModelVerdict::Undecided) {
    std::fprintf(stderr, "attnsym: no certificate is written for an undecided answer\n");
    return;
  }
  CertificateFile file;
  file.verdict = attnsym::name_of(decision.verdict);
  file.seed = options.seed;
  file.a_files = a.digests();
  file.b_files = b.digests();
  file.model = CertificateFile::Model{name_of(options.outputs), {}, {}, {}};
  if (decision.verdict == ModelVerdict::Distinct) {
    file.model->tokens = decision.witness->tokens;
  } else {
    ModelEvidence evidence = evidence_of(decision);
    file.layers = std::move(evidence.attention);
    file.model->stream = std::move(evidence.stream);
    file.model->neurons = std::move(evidence.neurons);
  }
  write_evidence(*options.certificate, serialize(file), options.force);
}

void print_json(const ModelDecision& decision, const ModelCheckOptions& options, std::size_t bytes_read,
                double seconds) {
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
      {"outputs", name_of(options.outputs)},
      {"seed", options.seed},
      {"stream", decision.stream_found ? json(attnsym::name_of(decision.stream)) : json()},
      {"parts", parts},
      {"blocks", blocks},
      {"first_difference", decision.first_difference ? json(*decision.first_difference) : json()},
      {"witness", witness_json(decision)},
      {"bytes_read", bytes_read},
      {"seconds", seconds}};
  std::printf("%s\n", object.dump(2).c_str());
}

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

void print_witness(const TokenWitness& witness) {
  std::printf("\ntokens ");
  for (const Index token : witness.tokens) std::printf(" %td", token);
  std::printf("\noutput %td at position %td is %.9g in A and %.9g in B\n", witness.output, witness.position,
              witness.output_a, witness.output_b);
}

void print_text(const ModelDecision& decision, const ModelCheckOptions& options) {
  std::printf("%s: %s\n\n", attnsym::name_of(decision.verdict), decision.reason.c_str());
  std::printf("scope   the whole model, %s\n", name_of(options.outputs));
  std::printf("stream  %s\n", decision.stream_found ? attnsym::name_of(decision.stream)
                                                    : "no change of basis found; compared as it is");
  std::printf("seed    %llu\n\n", static_cast<unsigned long long>(options.seed));
  if (!decision.blocks.empty()) {
    std::printf("%-22s  %-10s  %-8s  %-8s  %s\n", "part", "verdict", "ratio", "limit", "resolution");
    const auto is_head = [](const OuterComparison& outer) {
      return outer.part == "unembedding" || outer.part == "bias of the outputs";
    };
    for (const OuterComparison& outer : decision.outer) {
      if (!is_head(outer)) print_entries(outer.part, outer.entries);
    }
    for (std::size_t layer = 0; layer < decision.blocks.size(); ++layer)
      print_block(layer, decision.blocks[layer]);
    for (const OuterComparison& outer : decision.outer) {
      if (is_head(outer)) print_entries(outer.part, outer.entries);
    }
  }
  if (decision.verdict == ModelVerdict::Distinct) print_witness(*decision.witness);
  if (options.certificate && decision.verdict != ModelVerdict::Undecided)
    std::printf("\ncertificate  %s\n", options.certificate->c_str());
}

ExitStatus status_of(ModelVerdict verdict) {
  if (verdict == ModelVerdict::Distinct) return ExitStatus::no;
  return verdict == ModelVerdict::Undecided ? ExitStatus::undecided : ExitStatus::yes;
}

ModelDecision decide(const Model& a, const Model& b, const ModelCheckOptions& options, Radii radii) {
  const CheckpointModel model_a(a.checkpoint, radii);
  const CheckpointModel model_b(b.checkpoint, radii);
  Progress progress("check", static_cast<std::size_t>(model_a.config().blocks()));
  ModelDecideOptions decide;
  decide.outputs = options.outputs;
  decide.seed = options.seed;
  decide.run_tasks = [&](std::size_t count, const std::function<void(std::size_t)>& task) {
    run_tasks(count, options.threads, [&](std::size_t i) {
      task(i);
      progress.advance();
    });
  };
  return decide_models(model_a, model_b, decide);
}

// What quantisation could hide does not matter if the decoded numbers agree by themselves.
ModelDecision decide(const Model& a, const Model& b, const ModelCheckOptions& options) {
  if (is_quantized(a, b)) {
    ModelDecision decoded = decide(a, b, options, Radii::Decoded);
    if (decoded.verdict == ModelVerdict::Identical || decoded.verdict == ModelVerdict::Equivalent) {
      decoded.reason += ", within float32 rounding of the decoded numbers";
      return decoded;
    }
  }
  return decide(a, b, options, Radii::Quantized);
}

}  // namespace

Outputs outputs_of(const std::string& name) {
  return name == "logits" ? Outputs::Logits : Outputs::Probabilities;
}

ExitStatus check_models(const Model& a, const Model& b, const ModelCheckOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  const ModelDecision decision = decide(a, b, options);
  if (options.certificate) write_certificate(a, b, decision, options);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.as_json) {
    print_json(decision, options, a.checkpoint.weight_bytes() + b.checkpoint.weight_bytes(), seconds);
  } else {
    print_text(decision, options);
  }
  return status_of(decision.verdict);
}

}  // namespace attnsym
