#pragma once

#include <functional>

#include "symmetry/stored_model.hpp"
#include "symmetry/transformer_group.hpp"
#include "tools/rewrite_options.hpp"

namespace attnsym {

/// How a command changes a whole model.
struct WholeChange {
  /// What is outside of blocks, first.
  std::function<TransformerWeights<double>(const TransformerGroup&, const StoredModel&,
                                           TransformerWeights<double>)>
      outside;
  /// Block after block; from several threads.
  std::function<Block<double>(const TransformerGroup&, Index layer, StoredBlock)> block;
  /// Then what is no part of the model and meets the stream, such as heads of tasks, would be left behind.
  bool moves_stream = true;
};

/// Writes OUT with the whole model changed, one block in flight per worker.
/// @param label  of the progress line
/// @returns the group of the model
/// @throws FormatError naming a tensor that the change would leave behind
TransformerGroup rewrite_whole(const RewriteOptions& options, const Model& model, const std::string& label,
                               const WholeChange& change);

/// Where gains of norms are multiplied into what reads behind them, and unseen means taken away.
enum class Folding {
  ToRotate,     ///< where the stream may be rotated only behind that
  WhereAllowed  ///< wherever it changes nothing
};

Block<double> folded(const TransformerGroup& group, Folding folding, Index layer, Block<double> block);
TransformerWeights<double> folded(const TransformerGroup& group, Folding folding,
                                  TransformerWeights<double> outside);

}  // namespace attnsym
