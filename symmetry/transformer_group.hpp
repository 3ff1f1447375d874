#pragma once

#include <string>
#include <vector>

#include "symmetry/neuron_move.hpp"
#include "symmetry/stream_move.hpp"
#include "symmetry/symmetry_group.hpp"

namespace attnsym {

/// What counts as a model's output.
enum class Outputs {
  Logits,        ///< every number
  Probabilities  ///< logits up to what all outputs of a token have in common
};

/// An element of the group of whole models [N12]. Attention and neurons of every block move in place, tables
/// trade what all rows have in common, and then the stream moves.
struct TransformerElement {
  std::vector<AttentionElement<double>> attention;
  std::vector<NeuronMove> neurons;
  RowVector<double> shift;  ///< D: what embeddings gain and positions lose; 0 without positions
  StreamMove stream;

  bool operator==(const TransformerElement& other) const = default;
};

TransformerElement compose(const TransformerElement& g, const TransformerElement& h);
TransformerElement inverse(const TransformerElement& g);
TransformerElement identity_like(const TransformerElement& g);

/// Block `layer` of a model moved by the element. @throws ShapeError as the parts' act
Block<double> act(const TransformerElement& element, Index layer, const Block<double>& block);

/// @throws ShapeError as the parts' act: where the stream is rotated, gains have to be folded before
TransformerWeights<double> act(const TransformerElement& element, const TransformerWeights<double>& weights);

static_assert(GroupElement<TransformerElement>);
static_assert(LeftActsOn<TransformerElement, TransformerWeights<double>>);

/// What a random element of the group may move.
struct TransformerSampleOptions {
  SampleOptions attention{};
  bool neurons = true;
  bool shift = true;
  bool stream = true;
};

/// The symmetry group of transformers of one config [N12]: every element leaves the outputs unchanged of
/// every model - with folded gains, see folding.hpp, where the stream may be rotated.
class TransformerGroup {
 public:
  /// @throws ShapeError on an invalid config
  explicit TransformerGroup(TransformerConfig config);

  const TransformerConfig& config() const { return config_; }

  /// How the stream may change its basis.
  enum class Stream {
    Fixed,         ///< not at all: the outputs are the stream; or positions are fixed, where elements leave
                   ///< out the few that keep these
    Places,        ///< places of coordinates: embeddings read behind an activation, which knows signs
    Permutations,  ///< places of coordinates, and the sign of all together
    SignedPermutations,
    Centred,    ///< orthogonal matrices that keep the mean of a token, once gains are folded
    Orthogonal  ///< all of them, once gains are folded
  };
  Stream stream() const;

  /// Whether embeddings and positions can trade what all of their rows have in common. With a class token
  /// types and positions can, which elements leave alone.
  bool shifts_tables() const;

  TransformerElement identity() const;
  TransformerElement sample(Random& random, const TransformerSampleOptions& options = {}) const;

  /// Whether the element fits the config and every part of it is allowed.
  bool contains(const TransformerElement& element) const;

  /// Dimension of the set of weights that share one function at generic weights [N12], gains and biases of
  /// norms and writers of unseen means included. Scales that only norms without an epsilon ignore are counted
  /// where the epsilon is 0; elements do not have these.
  Index dimension(Outputs outputs = Outputs::Logits) const;

  /// One line for people.
  std::string describe() const;

 private:
  Index block_dimension(Index layer) const;
  Index norm_dimension() const;
  Index stream_dimension() const;
  Index stream_dimension_beside_positions() const;
  Index writer_dimension() const;

  TransformerConfig config_;
};

}  // namespace attnsym
