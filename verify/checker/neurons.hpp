#pragma once

#include <memory>
#include <span>
#include <vector>

#include "symmetry/stored_model.hpp"
#include "verify/checker/entries.hpp"

namespace attnsym {

/// Two MLPs, neuron by neuron.
struct MlpComparison {
  EntryComparison neurons;    ///< of what neurons read and write, and of their biases
  EntryComparison constant;   ///< of the bias behind them
  bool in_order = true;       ///< neuron k of A is neuron k of B
  bool same_count = true;     ///< as many neurons do something
  Index worst_neuron = -1;    ///< of B
  std::vector<Index> image;   ///< of every neuron of A: the neuron of B that it is, -1 if it puts out nothing
  double smallest_scale = 1;  ///< by which neurons of A were scaled, in size
  double largest_scale = 1;

  bool agrees() const { return same_count && neurons.agrees() && constant.agrees(); }
};

/// An MLP of a model, piece by piece.
struct SeenMlp {
  std::unique_ptr<NeuronReader> neurons;
  StoredMatrix bias;   ///< 1 x D, behind them; empty without one
  Index at_once = 64;  ///< how many are best read at once
};

/// How the parts of an MLP are judged.
struct MlpRules {
  EntryRules weights;
  EntryRules biases;  ///< of neurons, where those of norms were multiplied in
};

/// Whether a neuron can put out something.
bool is_live(const MlpConfig& config, const StoredNeurons& neurons, Index neuron);

/// Compares neurons of A with those of B that they are said to be, one to one [N12]: equal, and where the
/// activation allows it scaled. Nothing is searched. Neurons that are said to put out nothing have to.
/// @param image  see MlpComparison; any numbers
MlpComparison compare_matched_mlps(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b,
                                   const std::vector<Index>& image, Index model_width, const MlpRules& rules);

/// The same of some neurons only, without what is behind them.
EntryComparison compare_some_neurons(const MlpConfig& config, const SeenMlp& a, const SeenMlp& b,
                                     std::span<const Index> of_a, std::span<const Index> of_b,
                                     const MlpRules& rules);

}  // namespace attnsym
