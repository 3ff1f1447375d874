#include "tools/rewrite_whole.hpp"

#include <utility>

#include "checkpoint/model_tensors.hpp"
#include "checkpoint/outer_tensors.hpp"
#include "checkpoint/unread_tensors.hpp"
#include "symmetry/errors.hpp"
#include "symmetry/folding.hpp"
#include "tools/output.hpp"
#include "verify/models/decide_models.hpp"

namespace attnsym {
namespace {

bool rotates(const TransformerGroup& group) {
  return group.stream() == TransformerGroup::Stream::Orthogonal ||
         group.stream() == TransformerGroup::Stream::Centred;
}

void require_nothing_beside(const Model& model, const TransformerGroup& group) {
  if (group.stream() == TransformerGroup::Stream::Fixed) return;
  std::vector<std::string> left = tensors_of_other_classes(model.checkpoint);
  for (const StoredTensor& tensor : OuterTensors(model.checkpoint).beside())
    left.push_back(tensor.info->name);
  if (left.empty()) return;
  throw FormatError(model.checkpoint.find(left.front())->describe() +
                    " meets the stream, which would be moved without it; --scope attention leaves the stream "
                    "as it is, so do act --only without stream and canonicalize --scope mlp");
}

// Before OUT gets its name it is compared as `check --scope model` would.
void verify(CheckpointRewrite& rewrite, const RewriteOptions& options, const StoredModel& model) {
  const Model written = read_back(rewrite, options);
  const CheckpointModel stored(written.checkpoint);
  const RunTasks workers = [&](std::size_t count, const std::function<void(std::size_t)>& task) {
    run_tasks(count, options.threads, task);
  };
  ModelDecideOptions decide;
  decide.run_parts = decide.run_modules = workers;
  const ModelDecision decision = compare_models(model, stored, decide);
  if (decision.verdict != ModelVerdict::Identical && decision.verdict != ModelVerdict::Equivalent)
    refuse_output(options, decision.reason);
}

}  // namespace

TransformerGroup rewrite_whole(const RewriteOptions& options, const Model& model, const std::string& label,
                               const WholeChange& change) {
  const CheckpointModel stored(model.checkpoint, Radii::Decoded);
  TransformerGroup group(stored.config());
  if (change.moves_stream) require_nothing_beside(model, group);
  require_places(options);
  CheckpointRewrite rewrite = start_rewrite(options, model, RewriteScope::Model);
  const auto blocks = static_cast<std::size_t>(stored.config().blocks());
  Progress progress(label, blocks);
  rewrite.write_outside(change.outside(group, stored, read_outside(stored)));
  run_tasks(blocks + 1, options.threads, [&](std::size_t task) {
    if (task == 0) return rewrite.copy_rest();
    const auto layer = static_cast<Index>(task - 1);
    rewrite.write_block(layer, change.block(group, layer, read_block(stored, layer)));
    progress.advance();
  });
  if (options.verify) verify(rewrite, options, stored);
  finish(rewrite, options);
  return group;
}

Block<double> folded(const TransformerGroup& group, Folding folding, Index layer, Block<double> block) {
  const TransformerConfig& config = group.config();
  if (folding == Folding::ToRotate && !rotates(group)) return block;
  if (!gains_are_fixed(config)) block = with_folded_gains(config, layer, std::move(block));
  return writes_means_in_vain(config) ? with_centred_writers(std::move(block)) : block;
}

TransformerWeights<double> folded(const TransformerGroup& group, Folding folding,
                                  TransformerWeights<double> outside) {
  const TransformerConfig& config = group.config();
  if (folding == Folding::ToRotate && !rotates(group)) return outside;
  if (!final_gain_is_fixed(config)) fold_final_gain(config, outside);
  if (writes_means_in_vain(config)) centre_tables(config, outside);
  return outside;
}

}  // namespace attnsym
