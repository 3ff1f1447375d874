#include "checkpoint/gguf.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <optional>
#include <set>
#include <tuple>

#include "checkpoint/byte_reader.hpp"
#include "checkpoint/printable.hpp"

namespace attnsym {
namespace {

constexpr std::string_view magic = "GGUF";
constexpr std::size_t longest_key = 65535;   // as the format says
constexpr std::size_t longest_name = 65535;  // llama.cpp refuses names of tensors from 64 bytes on
constexpr std::uint32_t most_extents = 4;
constexpr std::uint64_t default_alignment = 32;

// Types of metadata values by their numbers in the file.
enum class ValueType : std::uint32_t { U8, I8, U16, I16, U32, I32, F32, Bool, Text, Array, U64, I64, F64 };

// Types of tensors by their numbers in the file; numbers that are not here were given up or are not known.
std::optional<Dtype> dtype_of(std::uint32_t number) {
  struct Row {
    std::uint32_t number;
    Dtype dtype;
  };
  constexpr std::array<Row, 31> rows{
      {{0, Dtype::F32},      {1, Dtype::F16},     {2, Dtype::Q4_0},     {3, Dtype::Q4_1},
       {6, Dtype::Q5_0},     {7, Dtype::Q5_1},    {8, Dtype::Q8_0},     {9, Dtype::Q8_1},
       {10, Dtype::Q2_K},    {11, Dtype::Q3_K},   {12, Dtype::Q4_K},    {13, Dtype::Q5_K},
       {14, Dtype::Q6_K},    {15, Dtype::Q8_K},   {16, Dtype::IQ2_XXS}, {17, Dtype::IQ2_XS},
       {18, Dtype::IQ3_XXS}, {19, Dtype::IQ1_S},  {20, Dtype::IQ4_NL},  {21, Dtype::IQ3_S},
       {22, Dtype::IQ2_S},   {23, Dtype::IQ4_XS}, {24, Dtype::I8},      {25, Dtype::I16},
       {26, Dtype::I32},     {27, Dtype::I64},    {28, Dtype::F64},     {29, Dtype::IQ1_M},
       {30, Dtype::BF16},    {34, Dtype::TQ1_0},  {35, Dtype::TQ2_0}}};
  for (const Row& row : rows) {
    if (row.number == number) return row.dtype;
  }
  return number == 39 ? std::optional(Dtype::MXFP4) : std::nullopt;
}

double shortest_decimal(float value) {
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  double result = 0;
  std::from_chars(text.data(), end, result);
  return result;
}

std::size_t aligned(std::size_t position, std::size_t alignment) {
  return (position + alignment - 1) / alignment * alignment;
}

class HeaderReader {
 public:
  HeaderReader(std::span<const std::byte> file, std::string_view name)
      : reader_(file, name), size_(file.size()) {}

  GgufHeader read() {
    read_version();
    // The shortest tensor: a name of no bytes, no extents, a type and an offset. The shortest pair has one
    // byte.
    const std::uint64_t tensors = count("tensors", 8 + 4 + 4 + 8);
    const std::uint64_t pairs = count("pairs of metadata", 8 + 4 + 1);
    for (std::uint64_t i = 0; i < pairs; ++i) read_pair();
    for (std::uint64_t i = 0; i < tensors; ++i) read_tensor();
    place_tensors();
    return std::move(header_);
  }

 private:
  void read_version() {
    if (reader_.text(magic.size(), "the magic number") != magic) reader_.fail("does not begin with 'GGUF'");
    const auto version = reader_.number<std::uint32_t>("the version");
    if (version == 2 || version == 3) return;
    const bool swapped = version == 0x02000000U || version == 0x03000000U;
    reader_.fail(swapped ? "is big-endian, which is not supported"
                         : "is of version " + std::to_string(version) + ", expected 2 or 3");
  }

  // Of things of at least so many bytes each, which have to fit into the rest of the file.
  std::uint64_t count(const std::string& what, std::size_t least) {
    const auto found = reader_.number<std::uint64_t>("the number of " + what);
    if (found > reader_.left() / least)
      reader_.fail(std::to_string(found) + " " + what + " do not fit into the file of " +
                   std::to_string(size_) + " bytes");
    return found;
  }

  std::string text(std::size_t longest, const std::string& what) {
    const auto length = reader_.number<std::uint64_t>("the length of " + what);
    if (length > longest)
      reader_.fail(what + " has a length of " + std::to_string(length) + " bytes, expected at most " +
                   std::to_string(longest));
    return std::string(reader_.text(length, what));
  }

  void read_pair() {
    const std::string key = text(longest_key, "a key of the metadata");
    const std::string place = "the value of key " + in_quotes(key);
    GgufValue value = read_value(read_type(place), place);
    if (!header_.metadata.emplace(key, std::move(value)).second)
      reader_.fail("the key " + in_quotes(key) + " occurs twice");
  }

  ValueType read_type(const std::string& place) {
    const auto type = reader_.number<std::uint32_t>(place);
    if (type > static_cast<std::uint32_t>(ValueType::F64))
      reader_.fail(place + " has the unknown type " + std::to_string(type));
    return static_cast<ValueType>(type);
  }

  template <class Stored, class Kind>
  GgufValue as(const std::string& place) {
    return static_cast<Kind>(reader_.number<Stored>(place));
  }

  GgufValue read_value(ValueType type, const std::string& place) {
    switch (type) {
      case ValueType::U8:
        return as<std::uint8_t, std::uint64_t>(place);
      case ValueType::U16:
        return as<std::uint16_t, std::uint64_t>(place);
      case ValueType::U32:
        return as<std::uint32_t, std::uint64_t>(place);
      case ValueType::U64:
        return as<std::uint64_t, std::uint64_t>(place);
      case ValueType::I8:
        return as<std::int8_t, std::int64_t>(place);
      case ValueType::I16:
        return as<std::int16_t, std::int64_t>(place);
      case ValueType::I32:
        return as<std::int32_t, std::int64_t>(place);
      case ValueType::I64:
        return as<std::int64_t, std::int64_t>(place);
      case ValueType::F32:
        return shortest_decimal(reader_.number<float>(place));
      case ValueType::F64:
        return reader_.number<double>(place);
      case ValueType::Bool:
        return read_flag(place);
      case ValueType::Text:
        return text(size_, place);
      case ValueType::Array:
        break;
    }
    return read_array(place);
  }

  GgufValue read_flag(const std::string& place) {
    const auto flag = reader_.number<std::uint8_t>(place);
    if (flag > 1) reader_.fail(place + " is " + std::to_string(flag) + ", expected 0 or 1 for false or true");
    return flag == 1;
  }

  GgufArray read_array(const std::string& place) {
    const ValueType type = read_type(place);
    if (type == ValueType::Array) reader_.fail(place + " is a list of lists, which is not supported");
    const auto found = reader_.number<std::uint64_t>(place);
    const std::size_t least = type == ValueType::Text ? 8 : fixed_size(type);
    if (found > reader_.left() / least)
      reader_.fail(place + " is a list of " + std::to_string(found) +
                   " items, which do not fit into the file of " + std::to_string(size_) + " bytes");
    if (type == ValueType::Text) {
      for (std::uint64_t i = 0; i < found; ++i) skip_text(place);
    } else {
      reader_.skip(found * least, place);
    }
    return {found};
  }

  void skip_text(const std::string& place) { reader_.skip(reader_.number<std::uint64_t>(place), place); }

  // Of neither texts nor lists.
  static std::size_t fixed_size(ValueType type) {
    switch (type) {
      case ValueType::U8:
      case ValueType::I8:
      case ValueType::Bool:
        return 1;
      case ValueType::U16:
      case ValueType::I16:
        return 2;
      case ValueType::U64:
      case ValueType::I64:
      case ValueType::F64:
        return 8;
      default:
        return 4;
    }
  }

  void read_tensor() {
    TensorInfo tensor;
    tensor.name = text(longest_name, "the name of a tensor");
    where_ = "tensor " + in_quotes(tensor.name) + ": ";
    if (!names_.insert(tensor.name).second) reader_.fail(where_ + "occurs twice");
    tensor.shape = read_shape();
    const auto type = reader_.number<std::uint32_t>(where_ + "its type");
    const std::optional<Dtype> dtype = dtype_of(type);
    if (!dtype) reader_.fail(where_ + "has the unknown type " + std::to_string(type));
    tensor.dtype = *dtype;
    const auto offset = reader_.number<std::uint64_t>(where_ + "its offset");
    const std::size_t size = require_size(tensor);
    if (offset > size_ || size > size_ - offset)
      reader_.fail(where_ + "takes " + std::to_string(size) + " bytes from byte " + std::to_string(offset) +
                   " of the data on, in a file of " + std::to_string(size_) + " bytes");
    tensor.begin = offset;
    tensor.end = offset + size;
    header_.table.tensors.push_back(std::move(tensor));
  }

  std::vector<std::int64_t> read_shape() {
    const auto extents = reader_.number<std::uint32_t>(where_ + "its shape");
    if (extents > most_extents)
      reader_.fail(where_ + "has " + std::to_string(extents) + " extents, expected at most " +
                   std::to_string(most_extents));
    std::vector<std::int64_t> shape;
    for (std::uint32_t i = 0; i < extents; ++i) {
      const auto extent = reader_.number<std::int64_t>(where_ + "its shape");
      if (extent < 1) reader_.fail(where_ + "has an extent that is not positive: " + std::to_string(extent));
      shape.push_back(extent);
    }
    std::ranges::reverse(shape);
    return shape;
  }

  std::size_t require_size(const TensorInfo& tensor) const {
    const std::string stored =
        "shape " + shape_text(tensor.shape) + " of " + std::string(name_of(tensor.dtype));
    if (!element_count(tensor.shape)) reader_.fail(where_ + "the size of " + stored + " overflows");
    if (const std::optional<std::size_t> bytes = byte_count(tensor.dtype, tensor.shape)) return *bytes;
    const std::size_t row = tensor.shape.empty() ? 1 : static_cast<std::size_t>(tensor.shape.back());
    if (row % block_length(tensor.dtype) == 0) reader_.fail(where_ + "the size of " + stored + " overflows");
    reader_.fail(where_ + stored + " has rows of " + std::to_string(row) +
                 " numbers, which are not whole blocks of " + std::to_string(block_length(tensor.dtype)));
  }

  std::size_t alignment() const {
    const auto found = header_.metadata.find("general.alignment");
    if (found == header_.metadata.end()) return default_alignment;
    const auto* value = std::get_if<std::uint64_t>(&found->second);
    // llama.cpp reads no other.
    if (value == nullptr || !std::has_single_bit(*value) || *value % 8 != 0 || *value > size_)
      reader_.fail("'general.alignment' is not a power of two, 8 or more, within the file's size");
    return *value;
  }

  // Data begin at the next aligned place after the header, or where the file ends if there are none.
  void place_tensors() {
    const std::size_t step = alignment();
    std::vector<TensorInfo>& tensors = header_.table.tensors;
    header_.table.data_offset = std::min(aligned(reader_.position(), step), size_);
    const std::size_t data = size_ - header_.table.data_offset;
    std::ranges::stable_sort(tensors, {}, &TensorInfo::begin);
    std::size_t expected = 0;
    for (const TensorInfo& tensor : tensors) {
      where_ = "tensor " + in_quotes(tensor.name) + ": ";
      if (tensor.begin % step != 0)
        reader_.fail(where_ + "begins at byte " + std::to_string(tensor.begin) +
                     " of the data, not on the alignment of " + std::to_string(step));
      if (tensor.begin != expected)
        reader_.fail(
            where_ + (tensor.begin < expected ? "overlaps the tensor before it" : "leaves a hole before it") +
            ": begins at " + std::to_string(tensor.begin) + ", expected " + std::to_string(expected));
      if (tensor.end > data)
        reader_.fail(where_ + "ends at " + std::to_string(tensor.end) + ", beyond the " +
                     std::to_string(data) + " bytes of data in the file");
      expected = aligned(tensor.end, step);
    }
    if (data > expected) reader_.fail(std::to_string(data - expected) + " bytes after the last tensor");
  }

  ByteReader reader_;
  std::size_t size_;
  GgufHeader header_;
  std::set<std::string> names_;
  std::string where_;  // the tensor that is looked at
};

}  // namespace

bool is_gguf(std::span<const std::byte> file) {
  return file.size() >= magic.size() &&
         std::string_view(reinterpret_cast<const char*>(file.data()), magic.size()) == magic;
}

GgufHeader parse_gguf_header(std::span<const std::byte> file, std::string_view name) {
  return HeaderReader(file, name).read();
}

}  // namespace attnsym
