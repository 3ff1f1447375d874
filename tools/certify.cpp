#include <cstdio>
#include <nlohmann/json.hpp>

#include "symmetry/errors.hpp"
#include "tools/commands.hpp"
#include "tools/evidence_file.hpp"
#include "tools/executor.hpp"
#include "tools/model.hpp"
#include "tools/output.hpp"
#include "verify/certificate.hpp"

namespace attnsym {
namespace {

using Path = std::filesystem::path;

struct CertifyOptions {
  Path certificate;
  Path a;
  Path b;
  std::optional<Path> config;
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

Refutation refute_layer(const CertificateFile& certificate, const Model& a, const Model& b, std::size_t layer) {
  const auto index = static_cast<Index>(layer);
  const StoredAttention from = read_attention(a.checkpoint, index);
  const StoredAttention to = read_attention(b.checkpoint, index);
  const AttentionElement<double>& element = certificate.b_from_a[layer];
  if (certificate.verdict == "identical") return refute_identity(from, to, element);
  return refute_equivalence(from, to, element);
}

Refutation refute_layers(const CertifyOptions& options, const CertificateFile& certificate, const Model& a,
                         const Model& b) {
  if (a.layers() != certificate.b_from_a.size() || b.layers() != a.layers()) return "the number of layers differs";
  std::vector<Refutation> refutations(a.layers());
  Progress progress("certify", a.layers());
  run_tasks(a.layers(), options.threads, [&](std::size_t layer) {
    refutations[layer] = refute_layer(certificate, a, b, layer);
    progress.advance();
  });
  for (std::size_t layer = 0; layer < refutations.size(); ++layer) {
    if (refutations[layer]) return "layer " + std::to_string(layer) + ": " + *refutations[layer];
  }
  return std::nullopt;
}

Refutation refute_distinct(const CertificateFile& certificate, const Model& a, const Model& b) {
  if (certificate.witness_layer >= std::min(a.layers(), b.layers())) return "the witness names a layer that is not there";
  if (!(certificate.witness_factor >= 10)) return "the certificate asks less than 10 times the rounding noise of its witness";
  const auto layer = static_cast<Index>(certificate.witness_layer);
  return refute_witness(read_attention(a.checkpoint, layer), read_attention(b.checkpoint, layer),
                        certificate.witness_input, certificate.witness_factor, certificate.seed);
}

Refutation refute(const CertifyOptions& options, const CertificateFile& certificate, const Model& a, const Model& b) {
  if (auto reason = refute_files("A", certificate.a_files, a.digests())) return reason;
  if (auto reason = refute_files("B", certificate.b_files, b.digests())) return reason;
  if (certificate.verdict == "distinct") return refute_distinct(certificate, a, b);
  if (certificate.verdict != "identical" && certificate.verdict != "equivalent") {
    return "'" + certificate.verdict + "' is not a verdict that can be certified";
  }
  return refute_layers(options, certificate, a, b);
}

ExitStatus run_certify(const CertifyOptions& options) {
  const CertificateFile certificate = read_certificate(options.certificate);
  const Model a = open_model(options.a, options.config);
  const Model b = open_model(options.b, options.config);
  const Refutation refutation = refute(options, certificate, a, b);
  const std::string answer = refutation ? "rejected" : "accepted";
  const std::string reason = refutation.value_or("the two models are " + certificate.verdict + " at attention scope");
  if (options.as_json) {
    const nlohmann::json object{
        {"schema", "attnsym.certify/1"}, {"answer", answer}, {"verdict", certificate.verdict}, {"reason", reason}};
    std::printf("%s\n", object.dump(2).c_str());
  } else {
    std::printf("%s: %s\n", answer.c_str(), reason.c_str());
  }
  return refutation ? ExitStatus::no : ExitStatus::yes;
}

}  // namespace

void setup_certify(CLI::App& app, ExitStatus& status) {
  auto options = std::make_shared<CertifyOptions>();
  CLI::App* command = app.add_subcommand("certify", "Re-check a certificate against A and B; nothing is searched");
  command->add_option("CERTIFICATE", options->certificate, "A file that check, act or canonicalize wrote")->required();
  command->add_option("A", options->a, "The first model")->required();
  command->add_option("B", options->b, "The second model")->required();
  add_config_option(*command, options->config);
  add_threads_option(*command, options->threads);
  command->add_flag("--json", options->as_json, "Print one JSON object");
  command->footer("Exit status: 0 accepted, 1 rejected, 2 trouble: a file cannot be read as what it should be.");
  command->callback([options, &status] { status = run_certify(*options); });
}

}  // namespace attnsym
