#pragma once

#include <string>
#include <vector>

#include "checkpoint/checkpoint.hpp"

namespace attnsym {

/// The tensors that the model does not read, whatever they hold: buffers that its library computes, and what
/// other classes of its family read. Names in the order of the files.
/// @throws FormatError as OuterTensors, and naming the first tensor that no class of the family reads: the
/// model is not what the table says
std::vector<std::string> tensors_not_read(const Checkpoint& checkpoint);

/// Of these, what is no buffer: another class of the family reads it.
std::vector<std::string> tensors_of_other_classes(const Checkpoint& checkpoint);

/// The tensors that no class of the family reads. None where the family is known by its attention alone.
std::vector<std::string> tensors_unknown_to_family(const Checkpoint& checkpoint);

}  // namespace attnsym
