#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "checkpoint/foreign_model.hpp"

namespace attnsym {

/// Whether a file is taken for one of llama2.c: it has the magic number of version 1 on, or the name ends in
/// .bin (the first version has nothing to be known by).
bool is_llama2c(std::span<const std::byte> file, std::string_view name);

/// A whole file of llama2.c in float32: the first format, of seven integers and the weights, or version 1, of
/// 256 bytes of header. Rotary positions of base 10000 turn interleaved pairs, and norms have an epsilon of
/// 1e-5, as run.c computes; the tables of cosines and sines in files of the first format are what run.c
/// passes over.
/// @param name goes into messages: the file's name.
/// @throws FormatError with name and reason: for sizes that are no model's or do not take exactly the file's
/// bytes, and for quantised files (version 2).
ForeignModel read_llama2c(std::span<const std::byte> file, std::string_view name);

}  // namespace attnsym
