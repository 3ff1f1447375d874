#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/model.hpp"

namespace attnsym {

/// What of its files a command says nothing about.
enum class Unread {
  ByFamily,  ///< tensors that no class of the family reads: where attention alone is looked at
  ByModel    ///< tensors that the whole model does not read
};

/// Names of the tensors, those of several models one after the other and none twice.
std::vector<std::string> unread_tensors(Unread by, std::initializer_list<const Model*> models);

/// A line for people, or nothing where there are none.
void print_unread(const std::vector<std::string>& tensors);

/// Why two models are not one although their texts may be: a tensor or setting that makes tokens of images
/// and is not the same, byte by byte.
std::optional<std::string> differs_beside_text(const Model& a, const Model& b);

}  // namespace attnsym
