#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "symmetry/transformer_config.hpp"

namespace attnsym {

/// The modules of a transform (TransformConfig), or none. A name may begin with {prefix}, which stands for
/// what precedes the names of blocks.
struct TransformNames {
  std::string_view dense;
  std::string_view activation;  ///< a key of the configuration, or the activation itself
  std::string_view norm;
};

/// A head of logits that the family's layout does not know, as it reads behind a transform.
struct HeadNames {
  TransformNames transform;
  std::string_view decoder;  ///< a module; its weight may be the embeddings, and then its bias is `bias`
  std::string_view bias;     ///< a tensor
};

/// The modules of a task (TaskConfig).
struct TaskNames {
  ReadTokens tokens = ReadTokens::All;
  TransformNames transform;
  std::string_view output;  ///< or empty
  bool bias = true;
  bool optional = false;  ///< files without it are the model without this output
};

/// What a class of transformers makes of the last stream: what `architectures` in config.json says.
struct ModelClass {
  enum class Main {
    Stream,       ///< the outputs are the stream
    Head,         ///< logits, by the head of the family's layout
    Predictions,  ///< logits, behind a transform
    None          ///< a task alone
  };
  std::string_view model_type;
  std::string_view name;
  Main main = Main::Stream;
  std::optional<TaskNames> task;
  std::optional<HeadNames> predictions;
  bool has_images = false;  ///< other tensors make tokens of images, see is_beside_text
};

/// The class of that name; nothing for one that is not known. Of families without a table here, classes are
/// known by how their names end: *ForCausalLM, *LMHeadModel, *Model.
std::optional<ModelClass> find_model_class(std::string_view model_type, std::string_view name);

/// All classes that are known of a family.
std::vector<ModelClass> model_classes(std::string_view model_type);

/// Tensors that files of the family may have and nothing reads, as name patterns behind the prefix.
std::vector<std::string_view> buffer_patterns(std::string_view model_type);

/// Whether a tensor is of the part that makes tokens of images (gemma3).
bool is_beside_text(std::string_view model_type, std::string_view tensor);

/// The padding token of the family's configuration class.
std::optional<Index> default_padding(std::string_view model_type);

}  // namespace attnsym
