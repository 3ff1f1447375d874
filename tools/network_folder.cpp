#include "tools/network_folder.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "checkpoint/printable.hpp"
#include "checkpoint/safetensors.hpp"
#include "nfn/row_major.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

constexpr std::array block_tensors{"Q", "K", "V", "O", "A", "B", "bA", "bB"};

// As `attnsym equivariance` has it. The parameters of a predictor grow with the cube of a width.
constexpr std::int64_t largest_extent = 4096;

std::string block_prefix(std::size_t block) { return "block" + std::to_string(block) + "."; }

[[noreturn]] void fail(const std::string& where, const std::string& tensor, const std::string& what) {
  throw FormatError(where + ": tensor " + in_quotes(tensor) + " " + what);
}

// Is this tensor `part`, or one of its pieces?
bool belongs_to(const std::string& tensor, const std::string& part) {
  return tensor == part || tensor.starts_with(part + ".");
}

// The axes of a tensor that has to have so many, none of them empty.
const std::vector<std::int64_t>& axes_of(const TensorShapes& tensors, const std::string& name,
                                         std::size_t count, const std::string& origin) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) fail(origin, name, "is missing");
  const auto& axes = found->second;
  if (axes.size() != count)
    fail(origin, name, "has shape " + shape_text(axes) + ", expected " + std::to_string(count) + " axes");
  for (const std::int64_t extent : axes) {
    if (extent < 1 || extent > largest_extent)
      fail(
          origin, name,
          "has shape " + shape_text(axes) + ", expected extents from 1 to " + std::to_string(largest_extent));
  }
  return axes;
}

std::vector<std::int64_t> expected_axes(const BlockShape& shape, const char* tensor) {
  const std::vector<Index> axes = row_major_axes(shape, 1, 1, tensor);
  return {axes.begin() + 2, axes.end()};  // without checkpoints and channels
}

// Q, V and A tell the widths, which all tensors then have to have.
BlockShape block_shape(const TensorShapes& tensors, const std::string& prefix, const std::string& origin) {
  const auto& q = axes_of(tensors, prefix + "Q", 3, origin);
  const auto& v = axes_of(tensors, prefix + "V", 3, origin);
  const auto& a = axes_of(tensors, prefix + "A", 2, origin);
  const BlockShape shape{q[1], q[0], q[2], v[2], a[1]};
  for (const char* tensor : block_tensors) {
    const std::vector<std::int64_t> expected = expected_axes(shape, tensor);
    const auto& axes = axes_of(tensors, prefix + tensor, expected.size(), origin);
    if (axes != expected)
      fail(origin, prefix + tensor,
           "has shape " + shape_text(axes) + ", expected " + shape_text(expected) + " by " + prefix +
               "Q, V and A");
  }
  return shape;
}

// Numbers in all tensors of one part.
Index part_size(const TensorShapes& tensors, const std::string& part, const std::string& origin) {
  constexpr Index largest = Index{1} << 40;
  Index sum = 0;
  for (const auto& [name, axes] : tensors) {
    if (!belongs_to(name, part)) continue;
    Index size = 1;
    for (const std::int64_t extent : axes) {
      if (extent > 0 && size > largest / extent)
        fail(origin, name, "has shape " + shape_text(axes) + ", which is too large");
      size *= extent;
    }
    sum += size;
    if (sum > largest) fail(origin, name, "is one too many: the " + part + " is too large");
  }
  return sum;
}

void require_known_names(const TensorShapes& tensors, std::size_t blocks, const std::string& origin) {
  std::set<std::string> of_blocks;
  for (std::size_t b = 0; b < blocks; ++b) {
    for (const char* part : block_tensors) of_blocks.insert(block_prefix(b) + part);
  }
  for (const TensorShapes::value_type& tensor : tensors) {
    const std::string& name = tensor.first;
    const bool known =
        belongs_to(name, "embedding") || belongs_to(name, "classifier") || of_blocks.contains(name);
    if (!known) fail(origin, name, "belongs to no block, and is neither embedding nor classifier");
  }
}

TensorShapes shapes_in(const SafetensorsFile& file) {
  TensorShapes shapes;
  for (const TensorInfo& tensor : file.tensors()) shapes[tensor.name] = tensor.shape;
  return shapes;
}

void require_layout(const SafetensorsFile& file, const NetworkLayout& layout) {
  const TensorShapes found = shapes_in(file);
  const std::string name = file.path().string();
  for (const auto& [tensor, axes] : layout.tensors) {
    const auto here = found.find(tensor);
    if (here == found.end()) fail(name, tensor, "is missing; " + layout.origin + " has it");
    if (here->second != axes)
      fail(name, tensor,
           "has shape " + shape_text(here->second) + ", that of " + layout.origin + " " + shape_text(axes));
  }
  for (const auto& [tensor, axes] : found) {
    if (!layout.tensors.contains(tensor)) fail(name, tensor, "is not in " + layout.origin);
  }
}

void append_numbers(const SafetensorsFile& file, const TensorInfo& tensor, std::vector<float>& numbers) {
  if (!is_readable_float(tensor.dtype))
    fail(file.path().string(), tensor.name,
         "has dtype " + std::string(name_of(tensor.dtype)) + ", expected F64, F32, F16 or BF16");
  std::vector<double> values(tensor.size() / size_of(tensor.dtype));
  decode(tensor.dtype, file.bytes(tensor), values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    numbers.push_back(static_cast<float>(values[i]));
    if (!std::isfinite(numbers.back()))
      fail(file.path().string(), tensor.name,
           "has an entry that is not finite in single precision: number " + std::to_string(i));
  }
}

// The numbers of every tensor, file after file.
using Numbers = std::map<std::string, std::vector<float>>;

Matrix<float> assemble_part(const Numbers& numbers, const std::string& part, Index rows, Index files) {
  Matrix<float> result(rows, files);
  Index row = 0;
  for (const auto& [name, values] : numbers) {
    if (!belongs_to(name, part) || values.empty()) continue;
    const Index size = static_cast<Index>(values.size()) / files;
    result.middleRows(row, size) = Eigen::Map<const Matrix<float>>(values.data(), size, files);
    row += size;
  }
  return result;
}

}  // namespace

NetworkLayout network_layout(TensorShapes tensors, const std::string& origin) {
  NetworkLayout layout{std::move(tensors), {}, origin};
  std::size_t blocks = 0;
  do {
    layout.shape.blocks.push_back(block_shape(layout.tensors, block_prefix(blocks), origin));
    ++blocks;
  } while (layout.tensors.contains(block_prefix(blocks) + "Q"));
  require_known_names(layout.tensors, blocks, origin);
  layout.shape.embedding = part_size(layout.tensors, "embedding", origin);
  layout.shape.classifier = part_size(layout.tensors, "classifier", origin);
  return layout;
}

NetworkLayout network_layout_of(const fs::path& file) {
  return network_layout(shapes_in(SafetensorsFile::open(file)), file.string());
}

std::vector<std::string> network_files(const fs::path& folder) {
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) throw IoError(folder.string() + ": " + error.message());
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : entries) {
    if (entry.path().extension() == ".safetensors") names.push_back(entry.path().filename().string());
  }
  if (names.empty()) throw FormatError(folder.string() + ": has no .safetensors file");
  std::ranges::sort(names);
  for (const std::string& name : names) {
    if (name.find_first_of(",\"\r\n") != std::string::npos)
      throw FormatError(folder.string() + ": the name " + in_quotes(name) +
                        " has a comma, a quote or a line break, which does not go into file,label");
  }
  return names;
}

NetworkWeights<float> read_networks(const fs::path& folder, const std::vector<std::string>& files,
                                    const NetworkLayout& layout) {
  Numbers numbers;
  for (const std::string& name : files) {
    const SafetensorsFile file = SafetensorsFile::open(folder / name);
    require_layout(file, layout);
    for (const TensorInfo& tensor : file.tensors()) append_numbers(file, tensor, numbers[tensor.name]);
  }
  const auto count = static_cast<Index>(files.size());
  auto weights = NetworkWeights<float>::zero(layout.shape, count);
  for (std::size_t b = 0; b < weights.blocks.size(); ++b) {
    for (const char* tensor : block_tensors) {
      from_row_major<float>(weights.blocks[b], tensor, numbers.at(block_prefix(b) + tensor));
    }
  }
  weights.embedding = assemble_part(numbers, "embedding", layout.shape.embedding, count);
  weights.classifier = assemble_part(numbers, "classifier", layout.shape.classifier, count);
  return weights;
}

}  // namespace attnsym
