#include "tools/rewrite_options.hpp"

#include <cstdio>

#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"
#include "tools/output.hpp"
#include "verify/checker/certificate.hpp"

namespace attnsym {
namespace {

void write_certificate(const RewriteOptions& options, const Model& model, std::uint64_t seed,
                       std::vector<EqualityEvidence> layers) {
  CertificateFile certificate;
  certificate.verdict = "equivalent";
  certificate.seed = seed;
  certificate.a_files = model.digests();
  certificate.b_files = open_model(options.out, options.files).digests();
  certificate.layers = std::move(layers);
  write_evidence(*options.certificate, serialize(certificate), options.force);
}

}  // namespace

void add_rewrite_options(CLI::App& command, RewriteOptions& options) {
  command.add_option("IN", options.in, "The model to read")->required();
  command
      .add_option("-o,--output", options.out,
                  "The model to write: a directory if IN is one or is a GGUF or llama2.c file, else a file")
      ->type_name("OUT")
      ->required();
  add_file_options(command, options.files);
  command
      .add_option("--certificate", options.certificate,
                  "Write why OUT computes the same here, for `attnsym certify`")
      ->type_name("FILE");
  command
      .add_option("--dtype", options.dtype,
                  "Store the attention tensors as this (default: as in IN, quantised ones as F32)")
      ->check(CLI::IsMember({"F64", "F32", "F16", "BF16"}));
  add_threads_option(command, options.threads);
  command.add_flag("--force", options.force,
                   "Replace OUT if attnsym wrote all that is in it, and the certificate, if they exist");
  command.add_flag("--verify", options.verify,
                   "Read OUT back and let the checker compare it with IN before it gets its name");
  command.add_flag(
      "--no-sync", options.no_sync,
      "Do not wait until the disk has OUT before it gets its name: faster, but a power failure may "
      "leave half of it there");
  command.add_flag("--json", options.as_json, "Print one JSON object");
}

void require_places(const RewriteOptions& options) {
  std::vector<std::filesystem::path> off_limits{options.in, options.out};
  for (const auto& path : options.files.paths()) {
    off_limits.push_back(path);
    std::error_code ignored;
    if (std::filesystem::equivalent(path, options.out, ignored))
      throw IoError(options.out.string() + ": is read by this very call");
  }
  require_evidence_place(options.certificate, options.force, off_limits);
}

CheckpointRewrite start_rewrite(const RewriteOptions& options, const Model& model, RewriteScope scope) {
  const std::optional<Dtype> store_as = options.dtype ? parse_dtype(*options.dtype) : std::nullopt;
  return {model.checkpoint, options.out, options.force ? Overwrite::Yes : Overwrite::No,
          store_as,         scope,       options.no_sync ? Sync::No : Sync::Yes};
}

Model read_back(CheckpointRewrite& rewrite, const RewriteOptions& options) {
  return open_model(rewrite.complete(), options.files);
}

void refuse_output(const RewriteOptions& options, const std::string& reason) {
  throw Error(options.out.string() +
              ": not written, because what was to be written is not shown to compute the same: " + reason);
}

namespace {

// The checker's word on every layer before OUT gets its name.
void verify(CheckpointRewrite& rewrite, const RewriteOptions& options, const Model& model,
            const std::vector<EqualityEvidence>& evidence) {
  const Model written = read_back(rewrite, options);
  std::vector<std::optional<std::string>> refutations(model.layers());
  Progress progress("verify", model.layers());
  run_tasks(model.layers(), options.threads, [&](std::size_t layer) {
    const auto index = static_cast<Index>(layer);
    CheckedEquivalence checked =
        check_equivalence(read_attention(model.checkpoint, index, Radii::Decoded),
                          read_attention(written.checkpoint, index), evidence[layer]);
    refutations[layer] = std::move(checked.refutation);
    if (!refutations[layer] && checked.resolution > coarsest_resolution)
      refutations[layer] = "rounding could hide a difference of more than 5 %";
    progress.advance();
  });
  for (std::size_t layer = 0; layer < refutations.size(); ++layer) {
    if (refutations[layer])
      refuse_output(options, "layer " + std::to_string(layer) + ": " + *refutations[layer]);
  }
}

}  // namespace

void finish(CheckpointRewrite& rewrite, const RewriteOptions& options) {
  rewrite.commit();
  if (rewrite.left_out().empty()) return;
  std::fprintf(stderr, "attnsym: not copied to %s, because %s: %s\n", printable(options.out.string()).c_str(),
               "it may hold the old weights, or leads elsewhere",
               printable(joined(rewrite.left_out(), ", ")).c_str());
}

void rewrite_model(const RewriteOptions& options, const Model& model, const std::string& label,
                   std::uint64_t seed,
                   const std::function<RewrittenLayer(std::size_t, RoundedAttention)>& change) {
  require_places(options);
  CheckpointRewrite rewrite = start_rewrite(options, model, RewriteScope::Attention);
  std::vector<EqualityEvidence> evidence(model.layers(), HeadClasses{});
  {
    Progress progress(label, model.layers());
    // Copying what stays is one more task, the first.
    run_tasks(model.layers() + 1, options.threads, [&](std::size_t task) {
      if (task == 0) return rewrite.copy_rest();
      const std::size_t layer = task - 1;
      const auto index = static_cast<Index>(layer);
      RewrittenLayer changed = change(layer, read_rounded_attention(model.checkpoint, index));
      rewrite.write_attention(index, changed.weights);
      evidence[layer] = std::move(changed.evidence);
      progress.advance();
    });
  }
  if (options.verify) verify(rewrite, options, model, evidence);
  finish(rewrite, options);
  if (options.certificate) write_certificate(options, model, seed, std::move(evidence));
}

}  // namespace attnsym
