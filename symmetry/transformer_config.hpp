#pragma once

#include <vector>

#include "symmetry/attention_config.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// What the norms of a model divide by, token by token: the root mean square of its entries, or their
/// standard deviation after their mean is taken away.
enum class NormKind { Rms, Layer };

/// Where attention and MLP of a block have norms; x is the stream, f is either of the two.
enum class NormPlacement {
  Before,    ///< x + f(norm(x)): GPT-2, Llama
  After,     ///< norm(x + f(x)): BERT
  OnBranch,  ///< x + norm(f(x)): OLMo 2
  Around     ///< x + norm(f(norm(x))): Gemma 2
};

enum class Activation {
  Gelu,      ///< x Phi(x)
  GeluTanh,  ///< its approximation by tanh
  Silu,      ///< x sigmoid(x)
  Relu,      ///< max(x, 0)
  Tanh       ///< of what tasks read; no MLP has it
};

/// What turns the last stream into outputs.
enum class Head {
  Own,   ///< a matrix
  Tied,  ///< the embeddings
  None,  ///< the outputs are the stream itself
  Tasks  ///< nothing: the outputs are those of tasks alone
};

/// The perceptron of a block: act(x U + bu) W + bw, or with gates (act(x G + bg) * (x U + bu)) W + bw.
struct MlpConfig {
  Index width = 0;  ///< m, neurons
  Activation activation = Activation::Gelu;
  bool gated = false;
  bool input_bias = false;   ///< bu, and bg if gated
  bool output_bias = false;  ///< bw

  bool operator==(const MlpConfig&) const = default;
};

/// A layer between the last stream and a linear map: norm(act(x W + b)), as in front of BERT's heads.
struct TransformConfig {
  Index width = 0;  ///< columns of W; 0 for none
  Activation activation = Activation::Gelu;
  bool norm = false;

  bool operator==(const TransformConfig&) const = default;
};

/// Which tokens of the last stream a task reads.
enum class ReadTokens { All, First, Last };

/// An output beside the head's: a linear map of the last stream, or of what a transform makes of it.
struct TaskConfig {
  ReadTokens tokens = ReadTokens::All;
  TransformConfig transform;
  Index outputs = 0;  ///< columns of the map; 0 without one, where the outputs are the transform's
  bool bias = false;  ///< of the map

  Index output_width() const { return outputs > 0 ? outputs : transform.width; }

  bool operator==(const TaskConfig&) const = default;
};

/// Everything about a transformer that is not a weight and decides its function and its group (N12).
struct TransformerConfig {
  Index model_width = 0;                ///< D
  Index vocabulary = 0;                 ///< V, tokens
  Index positions = 0;                  ///< rows of the table of positions; 0 without one
  std::vector<double> fixed_positions;  ///< these rows, one after the other, where they are no weights
  Index position_offset = 0;            ///< token n has row n + offset of the table
  Index padding = -1;        ///< a token that is no input, as its positions are others; -1 for none
  Index token_types = 0;     ///< rows of a table of token types; all tokens here have type 0
  bool class_token = false;  ///< position 0 has no token but type 1, as in ViT, where a token is one number
                             ///< of a patch of an image and type 0 is the bias of all patches
  NormKind norm = NormKind::Rms;
  double norm_epsilon = 0;
  NormPlacement placement = NormPlacement::Before;
  bool parallel = false;     ///< x + attention(norm(x)) + mlp(norm(x)); with norms before only
  bool shared_norm = false;  ///< of parallel blocks: attention and MLP read behind one norm, attention's
  bool embedding_norm = false;
  bool final_norm = false;
  double embedding_scale = 1;  ///< what embeddings are multiplied by
  Head head = Head::Own;
  bool head_bias = false;
  TransformConfig head_transform;  ///< in front of an own or tied head
  std::vector<TaskConfig> tasks;
  double logit_softcap = 0;                ///< a logit x becomes softcap * tanh(x / softcap); 0 for none
  std::vector<AttentionConfig> attention;  ///< of every block
  MlpConfig mlp;

  Index blocks() const { return static_cast<Index>(attention.size()); }

  bool norms_before() const {
    return placement == NormPlacement::Before || placement == NormPlacement::Around;
  }
  bool learns_positions() const { return positions > 0 && fixed_positions.empty(); }
  bool norms_behind() const { return placement != NormPlacement::Before; }

  /// Ids that tokens may have: rows of the embedding, and behind a class token one that embeds as zero, for
  /// patches of zeros.
  Index token_ids() const { return vocabulary + Index{class_token}; }

  /// Numbers that the head makes of a token: V, or D where the stream is the output.
  Index head_width() const { return head == Head::None ? model_width : head == Head::Tasks ? 0 : vocabulary; }

  /// Numbers that a token's output has: the head's, then those of every task, which are 0 at tokens that the
  /// task does not read.
  Index output_width() const;

  /// Whether a transform ends in the basis of the stream, as embeddings read it.
  bool ends_in_stream() const { return head == Head::Tied && head_transform.width > 0; }

  /// Stored numbers.
  Index parameter_count() const;

  /// @throws ShapeError unless every width is positive, all blocks are D wide and valid, epsilon is not
  /// negative, scales are finite, and parallel blocks have norms before only.
  void validate() const;

  bool operator==(const TransformerConfig&) const = default;
};

}  // namespace attnsym
