#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "checkpoint/checkpoint_model.hpp"
#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"
#include "tools/check_models.hpp"
#include "tools/commands.hpp"
#include "tools/evidence_file.hpp"
#include "tools/executor.hpp"
#include "tools/model.hpp"
#include "tools/output.hpp"
#include "tools/unread.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/checker/model_identity.hpp"
#include "verify/exact.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

using Path = std::filesystem::path;

struct CertifyOptions {
  Path certificate;
  Path a;
  Path b;
  ModelFiles files;
  std::size_t threads = default_workers();
  bool as_json = false;
};

using Refutation = std::optional<std::string>;

Refutation refute_files(const char* name, const std::map<std::string, std::string>& expected,
                        const std::map<std::string, std::string>& found) {
  for (const auto& [file, digest] : expected) {
    const auto same = found.find(file);
    if (same == found.end() || same->second != digest) {
      return file + " of " + name + " is not the file that was certified: its SHA-256 differs";
    }
  }
  if (found.size() != expected.size()) return std::string(name) + " has weight files that were not certified";
  return std::nullopt;
}

// With primes that no certificate can have chosen.
Refutation refute_exactly(const StoredAttention& a, const StoredAttention& b,
                          const EqualityEvidence& evidence) {
  const auto* classes = std::get_if<HeadClasses>(&evidence);
  if (classes == nullptr) return "exact equality is certified by classes of heads, and there are none";
  std::random_device device;
  return refute_exact_equality(a, b, *classes, (std::uint64_t{device()} << 32U) | device());
}

// The resolution is that of equivalent layers; identity needs none.
CheckedEquivalence check_layer(const CertificateFile& certificate, const Model& a, const Model& b,
                               std::size_t layer, Radii radii) {
  const auto index = static_cast<Index>(layer);
  StoredAttention from = read_attention(a.checkpoint, index, radii);
  StoredAttention to = read_attention(b.checkpoint, index, radii);
  const EqualityEvidence& evidence = certificate.layers[layer];
  if (certificate.verdict == "identical") {
    const auto* element = std::get_if<AttentionElement<double>>(&evidence);
    if (element == nullptr) return {"no exact change of basis is given"};
    return {refute_identity(from, to, *element)};
  }
  if (certificate.exact) return {refute_exactly(from, to, evidence)};
  return check_equivalence(std::move(from), std::move(to), evidence);
}

// If the decoded numbers agree by themselves, what quantisation could hide does not matter.
CheckedEquivalence check_layer(const CertificateFile& certificate, const Model& a, const Model& b,
                               std::size_t layer, bool quantized) {
  if (quantized) {
    const CheckedEquivalence decoded = check_layer(certificate, a, b, layer, Radii::Decoded);
    if (!decoded.refutation && decoded.resolution <= coarsest_resolution) return decoded;
  }
  return check_layer(certificate, a, b, layer, Radii::Quantized);
}

// Running a model on thousands of tokens takes minutes; check writes no witnesses of more than it has
// positions.
Refutation refute_length(Index tokens, Index positions) {
  const Index most = std::max<Index>(512, positions);
  if (tokens <= most) return std::nullopt;
  return "the witness has " + std::to_string(tokens) + " tokens, expected at most " + std::to_string(most);
}

Refutation refute_distinct(const CertificateFile& certificate, const Model& a, const Model& b) {
  if (certificate.witness_layer >= std::min(a.layers(), b.layers()))
    return "the witness names a layer that is not there";
  if (auto reason = refute_length(certificate.witness_input.rows(), 0)) return reason;
  const auto layer = static_cast<Index>(certificate.witness_layer);
  const StoredAttention from = read_attention(a.checkpoint, layer);
  const StoredAttention to = read_attention(b.checkpoint, layer);
  if (!certificate.exact) return refute_witness(from, to, certificate.witness_input);
  if (exact_gap_at_least(from, to, certificate.witness_input) > 0) return std::nullopt;
  return "the witness does not separate the stored numbers";
}

struct Answer {
  std::string answer;
  std::string reason;
  ExitStatus status;
};

Answer rejected(const std::string& reason) { return {"rejected", reason, ExitStatus::no}; }

Answer accepted(const CertificateFile& certificate) {
  const std::string scope = certificate.model ? "as a whole, by their " + certificate.model->outputs
                                              : std::string("at attention scope");
  return {"accepted", "the two models are " + certificate.verdict + " " + scope, ExitStatus::yes};
}

Refutation refute_models(const CertifyOptions& options, const CertificateFile& certificate, const Model& a,
                         const Model& b, Radii radii) {
  const CheckpointModel from(a.checkpoint, radii);
  const CheckpointModel to(b.checkpoint, radii);
  const Outputs outputs = outputs_of(certificate.model->outputs);
  if (certificate.verdict == "distinct") {
    const auto tokens = static_cast<Index>(certificate.model->tokens.size());
    if (auto reason = refute_length(tokens, from.config().positions)) return reason;
    return refute_token_witness(from, to, certificate.model->tokens, outputs);
  }
  if (const auto other = differs_beside_text(a, b)) return other;
  if (certificate.exact) return "exact equality is certified of attention modules, not of whole models";
  const ModelEvidence evidence{certificate.model->stream, certificate.layers, certificate.model->neurons};
  const RunTasks workers = [&](std::size_t count, const std::function<void(std::size_t)>& task) {
    run_tasks(count, options.threads, task);
  };
  if (auto reason = refute_models(from, to, evidence, outputs, workers)) return reason;
  if (certificate.verdict == "equivalent") return std::nullopt;
  if (auto reason = refute_model_identity(from, to, evidence, workers)) return "not identical: " + *reason;
  return std::nullopt;
}

Answer check_models(const CertifyOptions& options, const CertificateFile& certificate, const Model& a,
                    const Model& b) {
  // If the decoded numbers agree by themselves, what quantisation could hide does not matter.
  if (is_quantized(a, b) && certificate.verdict != "distinct" &&
      !refute_models(options, certificate, a, b, Radii::Decoded))
    return accepted(certificate);
  const auto reason = refute_models(options, certificate, a, b, Radii::Quantized);
  return reason ? rejected(*reason) : accepted(certificate);
}

Answer check_layers(const CertifyOptions& options, const CertificateFile& certificate, const Model& a,
                    const Model& b) {
  if (a.layers() != certificate.layers.size() || b.layers() != a.layers()) {
    return rejected("the number of layers differs");
  }
  std::vector<CheckedEquivalence> findings(a.layers());
  const bool quantized = is_quantized(a, b);
  on_threads(plan_attention(options.threads, a, b).layers, std::make_shared<Progress>("certify"))(
      a.layers(),
      [&](std::size_t layer) { findings[layer] = check_layer(certificate, a, b, layer, quantized); });
  double resolution = 0;
  for (std::size_t layer = 0; layer < findings.size(); ++layer) {
    if (findings[layer].refutation)
      return rejected("layer " + std::to_string(layer) + ": " + *findings[layer].refutation);
    resolution = std::max(resolution, findings[layer].resolution);
  }
  if (resolution <= coarsest_resolution) return accepted(certificate);
  return {"undecided",
          "the evidence holds, but the resolution is " + brief(100 * resolution) +
              " %: the stored precision could hide a difference of that size",
          ExitStatus::undecided};
}

// That models are one may hold up to the length of their inputs alone; a witness has to do with all windows.
Answer check_equality(const CertifyOptions& options, const CertificateFile& certificate, Model& a, Model& b) {
  const auto limit = leave_out_unreached_windows(a, b);
  Answer found =
      certificate.model ? check_models(options, certificate, a, b) : check_layers(options, certificate, a, b);
  if (limit && found.status == ExitStatus::yes) found.reason += "; " + *limit;
  return found;
}

Answer check_distinct(const CertifyOptions& options, const CertificateFile& certificate, const Model& a,
                      const Model& b) {
  if (certificate.model) return check_models(options, certificate, a, b);
  if (const auto reason = refute_distinct(certificate, a, b)) return rejected(*reason);
  return accepted(certificate);
}

Answer unless_changed(Answer found, const Model& a, const Model& b) {
  require_unchanged(a, b);
  return found;
}

Answer answer(const CertifyOptions& options) {
  const std::optional<CertificateFile> certificate = read_certificate(options.certificate);
  if (!certificate) return rejected("the certificate has been changed: its digest does not hold");
  Model a = open_model(options.a, options.files);
  Model b = open_model(options.b, options.files);
  if (const auto reason = refute_files("A", certificate->a_files, a.digests())) return rejected(*reason);
  if (const auto reason = refute_files("B", certificate->b_files, b.digests())) return rejected(*reason);
  if (certificate->verdict == "identical" || certificate->verdict == "equivalent")
    return unless_changed(check_equality(options, *certificate, a, b), a, b);
  if (certificate->verdict == "distinct")
    return unless_changed(check_distinct(options, *certificate, a, b), a, b);
  return rejected(in_quotes(certificate->verdict) + " cannot be certified");
}

ExitStatus run_certify(const CertifyOptions& options) {
  const Answer found = answer(options);
  if (options.as_json) {
    const nlohmann::json object{
        {"schema", "attnsym.certify/1"}, {"answer", found.answer}, {"reason", found.reason}};
    print_object(object);
  } else {
    std::printf("%s: %s\n", found.answer.c_str(), printable(found.reason).c_str());
  }
  return found.status;
}

}  // namespace

void setup_certify(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<CertifyOptions>();
  CLI::App* command =
      app.add_subcommand("certify", "Re-check a certificate against A and B; nothing is searched");
  command->add_option("CERTIFICATE", options->certificate, "A file that check, act or canonicalize wrote")
      ->required();
  command->add_option("A", options->a, "The first model")->required();
  command->add_option("B", options->b, "The second model")->required();
  add_file_options(*command, options->files);
  add_threads_option(*command, options->threads);
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->footer(
      "Exit status: 0 accepted, 1 rejected, 2 trouble (a file cannot be read as what it should be), 3 the "
      "evidence holds but "
      "the stored precision is too coarse to prove much.");
  command->callback([options, &status] { status = run_certify(*options); });
}

}  // namespace attnsym
