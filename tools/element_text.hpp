#pragma once

#include <ostream>
#include <string>

#include "nfn/block_symmetry.hpp"
#include "symmetry/attention_symmetry.hpp"

namespace attnsym {

/// Group elements and shapes for people. Parts of an element that are the identity are left out.

std::ostream& operator<<(std::ostream& out, const BlockShape& shape);
std::ostream& operator<<(std::ostream& out, const AttentionConfig& config);

std::string text_of(const BlockElement<double>& element);
std::string text_of(const AttentionElement<double>& element);

}  // namespace attnsym
