#include "checkpoint/unread_tensors.hpp"

#include <set>

#include "checkpoint/model_classes.hpp"
#include "checkpoint/model_tensors.hpp"
#include "checkpoint/outer_tensors.hpp"
#include "checkpoint/read_attention.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

// The names of a family's tensors, as far as its table and its classes say them.
class FamilyNames {
 public:
  explicit FamilyNames(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint), model_type_(checkpoint.config().model_type) {
    for (const std::string_view pattern : buffer_patterns(model_type_)) add(buffers_, pattern);
    add_attention(checkpoint.layout());
    if (checkpoint.layout().model) add_outside(*checkpoint.layout().model);
    for (const ModelClass& one : model_classes(model_type_)) add_class(one);
  }

  bool is_buffer(const std::string& name) const { return buffers_.contains(name); }

  bool knows(const std::string& name) const {
    return names_.contains(name) || is_buffer(name) || is_beside_text(model_type_, name);
  }

 private:
  void add(std::set<std::string>& names, std::string_view pattern) {
    if (pattern.empty()) return;
    for (Index layer = 0; layer < layer_count(checkpoint_); ++layer)
      names.insert(tensor_name(checkpoint_.prefix(), pattern, layer));
  }

  void add_linear(const LinearNames& names) {
    add(names_, names.weight);
    add(names_, names.bias);
  }

  void add_norm(const NormNames& norm) {
    for (const std::string& name : norm.gains) add(names_, name);
    for (const std::string& name : norm.biases) add(names_, name);
  }

  void add_attention(const Layout& layout) {
    for (const LinearNames* names : {&layout.query, &layout.key, &layout.value, &layout.output})
      add_linear(*names);
    for (const std::string* name : {&layout.query_norm, &layout.key_norm}) add(names_, *name);
    add_norm(layout.first_norm);
    add_norm(layout.norm);
  }

  void add_outside(const ModelLayout& layout) {
    for (const std::string* name :
         {&layout.embedding, &layout.positions, &layout.token_types, &layout.class_token, &layout.patch_bias})
      add(names_, *name);
    for (const NormNames& norm : layout.norms) add_norm(norm);
    for (const LinearNames* names : {&layout.up, &layout.gate, &layout.down}) add_linear(*names);
    for (const std::string& head : layout.heads) add_module(head);
  }

  // Of heads, which have their names whatever precedes others.
  void add_module(std::string_view name) {
    if (name.empty()) return;
    constexpr std::string_view mark = "{prefix}";
    const std::string module = name.starts_with(mark)
                                   ? checkpoint_.prefix() + std::string(name.substr(mark.size()))
                                   : std::string(name);
    for (const char* part : {".weight", ".bias", ".gamma", ".beta"}) names_.insert(module + part);
  }

  void add_transform(const TransformNames& names) {
    add_module(names.dense);
    add_module(names.norm);
  }

  void add_class(const ModelClass& one) {
    if (one.task) {
      add_transform(one.task->transform);
      add_module(one.task->output);
    }
    if (!one.predictions) return;
    add_transform(one.predictions->transform);
    add_module(one.predictions->decoder);
    names_.emplace(one.predictions->bias);
  }

  const Checkpoint& checkpoint_;
  const std::string& model_type_;
  std::set<std::string> names_;
  std::set<std::string> buffers_;
};

template <class Visit>
void for_each_tensor(const Checkpoint& checkpoint, Visit visit) {
  for (const TensorFile& file : checkpoint.files()) {
    for (const TensorInfo& tensor : file.tensors()) visit(StoredTensor{&file, &tensor});
  }
}

// What other formats keep among tensors and the configuration says.
bool is_in_config(const Checkpoint& checkpoint, const std::string& name) {
  return checkpoint.foreign() != nullptr && checkpoint.foreign()->in_config.contains(name);
}

}  // namespace

std::vector<std::string> tensors_not_read(const Checkpoint& checkpoint) {
  std::set<std::string> read = model_tensor_names(checkpoint);
  for (const StoredTensor& tensor : OuterTensors(checkpoint).beside()) read.insert(tensor.info->name);
  const FamilyNames family(checkpoint);
  std::vector<std::string> unread;
  for_each_tensor(checkpoint, [&](const StoredTensor& tensor) {
    const std::string& name = tensor.info->name;
    if (read.contains(name) || is_in_config(checkpoint, name)) return;
    if (!family.knows(name)) {
      throw FormatError(tensor.describe() + " has no place in a " + checkpoint.config().model_type +
                        " model, so the whole model is not understood; --scope attention does without it");
    }
    unread.push_back(name);
  });
  return unread;
}

std::vector<std::string> tensors_of_other_classes(const Checkpoint& checkpoint) {
  const FamilyNames family(checkpoint);
  std::vector<std::string> unread = tensors_not_read(checkpoint);
  std::erase_if(unread, [&](const std::string& name) { return family.is_buffer(name); });
  return unread;
}

std::vector<std::string> tensors_unknown_to_family(const Checkpoint& checkpoint) {
  std::vector<std::string> unknown;
  if (!checkpoint.layout().model) return unknown;
  const FamilyNames family(checkpoint);
  for_each_tensor(checkpoint, [&](const StoredTensor& tensor) {
    const std::string& name = tensor.info->name;
    if (!family.knows(name) && !is_in_config(checkpoint, name)) unknown.push_back(name);
  });
  return unknown;
}

}  // namespace attnsym
