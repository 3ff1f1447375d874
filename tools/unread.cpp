#include "tools/unread.hpp"

#include <algorithm>
#include <cstdio>

#include "checkpoint/outer_tensors.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/unread_tensors.hpp"

namespace attnsym {
namespace {

bool is_same(const StoredTensor& a, const std::optional<StoredTensor>& b) {
  return b && a.info->dtype == b->info->dtype && a.info->shape == b->info->shape &&
         std::ranges::equal(a.bytes(), b->bytes());
}

// The first tensor of a that b has not.
std::optional<std::string> first_other(const Model& a, const Model& b) {
  for (const StoredTensor& tensor : OuterTensors(a.checkpoint).beside()) {
    if (!is_same(tensor, b.checkpoint.find(tensor.info->name))) return tensor.info->name;
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::string> unread_tensors(Unread by, std::initializer_list<const Model*> models) {
  std::vector<std::string> all;
  for (const Model* model : models) {
    for (const std::string& name : by == Unread::ByModel ? tensors_not_read(model->checkpoint)
                                                         : tensors_unknown_to_family(model->checkpoint)) {
      if (std::ranges::find(all, name) == all.end()) all.push_back(name);
    }
  }
  return all;
}

void print_unread(const std::vector<std::string>& tensors) {
  if (tensors.empty()) return;
  constexpr std::size_t most = 6;
  const std::size_t shown = std::min(most, tensors.size());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < shown; ++i) names.push_back(in_quotes(tensors[i]));
  std::printf("unread  %s", joined(names, ", ").c_str());
  if (shown < tensors.size()) std::printf(" and %zu more", tensors.size() - shown);
  std::printf("\n");
}

std::optional<std::string> differs_beside_text(const Model& a, const Model& b) {
  auto other = first_other(a, b);
  if (!other) other = first_other(b, a);
  if (other) return "tensor " + in_quotes(*other) + ", which makes tokens of images, is another one";
  const bool has_images = !OuterTensors(a.checkpoint).beside().empty();
  if (has_images && a.checkpoint.config().outside->images != b.checkpoint.config().outside->images)
    return "the configurations differ in what they say of images";
  return std::nullopt;
}

}  // namespace attnsym
