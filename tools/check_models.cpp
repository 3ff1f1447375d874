#include "tools/check_models.hpp"

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "checkpoint/checkpoint_model.hpp"
#include "checkpoint/same_bytes.hpp"
#include "symmetry/errors.hpp"
#include "tools/evidence_file.hpp"
#include "tools/models_report.hpp"
#include "tools/output.hpp"
#include "tools/unread.hpp"

namespace attnsym {
namespace {

bool are_equal(const ModelDecision& decision) {
  return decision.verdict == ModelVerdict::Identical || decision.verdict == ModelVerdict::Equivalent;
}

void write_certificate(const Model& a, const Model& b, const ModelCheckOptions& options,
                       ModelCheckResult& result) {
  const ModelDecision& decision = result.decision;
  if (decision.verdict == ModelVerdict::Undecided) {
    std::fprintf(stderr, "attnsym: no certificate is written for an undecided answer\n");
    return;
  }
  if (decision.verdict == ModelVerdict::Distinct && !decision.witness) {
    std::fprintf(stderr, "attnsym: no certificate is written: shapes alone tell these models apart\n");
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
  result.certificate = options.certificate->string();
}

ExitStatus status_of(ModelVerdict verdict) {
  if (verdict == ModelVerdict::Distinct) return ExitStatus::no;
  return verdict == ModelVerdict::Undecided ? ExitStatus::undecided : ExitStatus::yes;
}

// Reads two checkpoints as whole models and answers questions about them.
class ModelJudge {
 public:
  ModelJudge(const Model& a, const Model& b, const ModelCheckOptions& options, Radii radii)
      : a_(a),
        b_(b),
        model_a_(a.checkpoint, radii),
        model_b_(b.checkpoint, radii),
        same_(a.checkpoint, b.checkpoint),
        plan_(plan_attention(options.threads, a, b)),
        threads_(options.threads) {
    options_.outputs = options.outputs;
    options_.seed = options.seed;
    options_.compare_unlike = options.explain;
    options_.alike = {[this](Index layer) { return same_.block(layer); }, [this] { return same_.outside(); }};
  }

  // Models that take or give something else compute something else.
  std::optional<ModelDecision> told_apart_by_shapes() const {
    try {
      require_same_outputs(model_a_, model_b_, Outputs::Logits);
      return std::nullopt;
    } catch (const ShapeError& error) {
      ModelDecision decision;
      decision.verdict = ModelVerdict::Distinct;
      decision.different_architecture = decision.reason = error.what();
      return decision;
    }
  }

  ModelDecision decide() const {
    if (auto decision = told_apart_by_shapes()) return *decision;
    return decide_models(model_a_, model_b_, with_workers("check"));
  }

  std::optional<Index> numbers_per_patch() const {
    const TransformerConfig& config = model_a_.config();
    return config.class_token ? std::optional(config.vocabulary) : std::nullopt;
  }

  ModelExplanation explain(const ModelDecision& decision) const {
    return explain_models(a_, b_, model_a_, model_b_, decision, with_workers("explain"));
  }

 private:
  // Threads for the parts of both models; what they do is shown under this label.
  ModelDecideOptions with_workers(const std::string& label) const {
    const auto progress = std::make_shared<Progress>(label);
    ModelDecideOptions options = options_;
    options.run_parts = on_threads(threads_, progress);
    options.run_modules = on_threads(plan_.layers, progress);
    options.run_in_module = on_threads(plan_.inside);
    return options;
  }

  const Model& a_;
  const Model& b_;
  CheckpointModel model_a_;
  CheckpointModel model_b_;
  SameBytes same_;
  ThreadPlan plan_;
  std::size_t threads_;
  ModelDecideOptions options_;
};

// Equal texts make no equal models where images are read as well.
void judge_images(const Model& a, const Model& b, ModelDecision& decision) {
  const auto other = differs_beside_text(a, b);
  if (!are_equal(decision) || !other) return;
  decision.verdict = ModelVerdict::Undecided;
  decision.reason = *other + "; on texts " + decision.reason;
}

void answer(const Model& a, const Model& b, const ModelCheckOptions& options, ModelCheckResult& result) {
  if (options.explain) result.explanation = ModelExplanation{};
  // What quantisation could hide does not matter if the decoded numbers agree by themselves.
  if (is_quantized(a, b)) {
    result.decision = ModelJudge(a, b, options, Radii::Decoded).decide();
    if (are_equal(result.decision)) {
      result.decision.reason += ", within float32 rounding of the decoded numbers";
      return;
    }
  }
  const ModelJudge judge(a, b, options, Radii::Quantized);
  result.decision = judge.decide();
  result.numbers_per_patch = judge.numbers_per_patch();
  const bool have_outputs = result.decision.witness || result.decision.verdict != ModelVerdict::Distinct;
  if (options.explain && !are_equal(result.decision) && have_outputs)
    result.explanation = judge.explain(result.decision);
}

// As for attention: windows that no input reaches are left out if that makes the models one.
void answer_on_inputs(Model& a, Model& b, const ModelCheckOptions& options, ModelCheckResult& result) {
  if (const auto limit = leave_out_unreached_windows(a, b)) {
    answer(a, b, options, result);
    if (are_equal(result.decision)) {
      result.decision.reason += "; " + *limit;
      return;
    }
    take_all_windows(a, b);
  }
  answer(a, b, options, result);
}

}  // namespace

Outputs outputs_of(const std::string& name) {
  return name == "logits" ? Outputs::Logits : Outputs::Probabilities;
}

ExitStatus check_models(Model& a, Model& b, const ModelCheckOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  ModelCheckResult result;
  result.outputs = options.outputs;
  result.seed = options.seed;
  answer_on_inputs(a, b, options, result);
  judge_images(a, b, result.decision);
  result.unread = unread_tensors(Unread::ByModel, {&a, &b});
  require_unchanged(a, b);
  if (options.certificate) write_certificate(a, b, options, result);
  result.bytes_read = a.checkpoint.weight_bytes() + b.checkpoint.weight_bytes();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  options.as_json ? print_json(result) : print_text(result);
  return status_of(result.decision.verdict);
}

}  // namespace attnsym
