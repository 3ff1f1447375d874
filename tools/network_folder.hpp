#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "nfn/network_weights.hpp"

namespace attnsym {

/// The axes of every tensor of a file, by name.
using TensorShapes = std::map<std::string, std::vector<std::int64_t>>;

/// What the files of transformers that a predictor reads have in common. For every block b = 0, 1, ... a file
/// has, under the names that `attnsym equivariance` uses,
///
///     block<b>.Q .K [h, D, Dk]   .V [h, D, Dv]   .O [h, Dv, D]   .A [D, DA]   .B [DA, D]   .bA [DA]   .bB
///     [D]
///
/// and any number of tensors of any shape called `embedding` or `embedding.<something>`, likewise
/// `classifier`. Nothing else: what a predictor cannot read should not seem to be read.
struct NetworkLayout {
  TensorShapes tensors;
  NetworkShape shape;
  std::string origin;  ///< the file that says so, for messages
};

/// @throws FormatError naming origin, tensor and reason unless the tensors are those of one transformer.
NetworkLayout network_layout(TensorShapes tensors, const std::string& origin);

/// That of a file. @throws as the other, and as SafetensorsFile::open.
NetworkLayout network_layout_of(const std::filesystem::path& file);

/// The names of all .safetensors files of a folder, sorted by their bytes.
/// @throws IoError if there is no such folder, FormatError if it has none or if a name would not fit into a
/// line of CSV without quotes.
std::vector<std::string> network_files(const std::filesystem::path& folder);

/// The transformers in these files, in this order.
/// @throws FormatError naming file, tensor and reason if one has another layout or a number that is not
/// finite in single precision; also as SafetensorsFile::open.
NetworkWeights<float> read_networks(const std::filesystem::path& folder,
                                    const std::vector<std::string>& files, const NetworkLayout& layout);

}  // namespace attnsym
