#pragma once

#include <CLI/App.hpp>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/rewrite.hpp"
#include "tools/evidence_file.hpp"
#include "tools/executor.hpp"
#include "tools/model.hpp"

namespace attnsym {

/// What the commands share that write a changed copy of a model.
struct RewriteOptions {
  std::filesystem::path in;
  std::filesystem::path out;
  ModelFiles files;
  std::optional<std::filesystem::path> certificate;
  std::optional<std::string> dtype;
  std::size_t threads = default_workers();
  bool force = false;
  bool no_sync = false;
  bool verify = false;
  bool as_json = false;
};

void add_rewrite_options(CLI::App& command, RewriteOptions& options);

/// Refuses places to write before the work. @throws IoError
void require_places(const RewriteOptions& options);

/// What is common to both scopes: begins OUT as the options say, and gives it its name, saying what of the
/// source's directory it has not.
CheckpointRewrite start_rewrite(const RewriteOptions& options, const Model& model, RewriteScope scope);
void finish(CheckpointRewrite& rewrite, const RewriteOptions& options);

/// What was written and has no name yet, read back.
Model read_back(CheckpointRewrite& rewrite, const RewriteOptions& options);

/// @throws Error that OUT was not written, because of this.
[[noreturn]] void refuse_output(const RewriteOptions& options, const std::string& reason);

/// One layer's new weights, and why they compute the same.
struct RewrittenLayer {
  AttentionWeights<double> weights;
  EqualityEvidence evidence;
};

/// Writes OUT with every layer's attention replaced by change(layer, module), which may take the weights to
/// pieces, one layer in flight per worker, and the certificate if one is asked for.
/// @param label  of the progress line
void rewrite_model(const RewriteOptions& options, const Model& model, const std::string& label,
                   std::uint64_t seed,
                   const std::function<RewrittenLayer(std::size_t, RoundedAttention)>& change);

}  // namespace attnsym
