#include "checkpoint/safetensors_header.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <tuple>

#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

constexpr std::size_t most_axes = 64;  // as NumPy has

// Follows the JSON text event by event and knows at every moment what may come: nothing outside the format is
// ever stored, and nesting costs nothing because the third level is refused.
class HeaderReader final : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(std::string_view name, TensorTable& header) : name_(name), header_(header) {}

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    unexpected("a number that is no 64 bit integer");
  }
  bool binary(binary_t&) override { unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t number) override {
    if (place_ == Place::Shape && number <= std::numeric_limits<std::int64_t>::max()) {
      if (tensor_.shape.size() == most_axes)
        fail("shape has more than " + std::to_string(most_axes) + " sizes");
      tensor_.shape.push_back(static_cast<std::int64_t>(number));
    } else if (place_ == Place::Offsets && number <= std::numeric_limits<std::size_t>::max()) {
      offsets_.push_back(static_cast<std::size_t>(number));
    } else {
      unexpected("the number " + std::to_string(number));
    }
    return true;
  }

  bool string(string_t& text) override {
    if (place_ == Place::Metadata) {
      header_.metadata[key_] = text;
    } else if (place_ == Place::Fields && key_ == "dtype") {
      const std::optional<Dtype> dtype = parse_dtype(text);
      if (!dtype) fail("unknown dtype " + in_quotes(text));
      tensor_.dtype = *dtype;
    } else {
      unexpected("the text " + in_quotes(text));
    }
    return true;
  }

  bool key(string_t& key) override {
    if (place_ == Place::Fields && key != "dtype" && key != "shape" && key != "data_offsets") {
      fail("unknown field " + in_quotes(key));
    }
    key_ = key;
    std::set<std::string>& keys = place_ == Place::Names ? names_ : inner_keys_;
    if (!keys.insert(key).second) fail("the key " + in_quotes(key) + " occurs twice");
    return true;
  }

  bool start_object(std::size_t) override {
    if (place_ == Place::Start) {
      place_ = Place::Names;
    } else if (place_ == Place::Names) {
      place_ = key_ == "__metadata__" ? Place::Metadata : Place::Fields;
      tensor_ = {};
      tensor_.name = key_;
      inner_keys_.clear();
    } else {
      unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::Fields) finish_tensor();
    place_ = Place::Names;
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::Fields || key_ == "dtype") unexpected("an array");
    place_ = key_ == "shape" ? Place::Shape : Place::Offsets;
    offsets_.clear();
    return true;
  }

  bool end_array() override {
    if (place_ == Place::Offsets) {
      if (offsets_.size() != 2)
        fail("data_offsets must be two numbers, found " + std::to_string(offsets_.size()));
      tensor_.begin = offsets_[0];
      tensor_.end = offsets_[1];
    }
    place_ = Place::Fields;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    throw FormatError(name_ + ": the header is not valid JSON at byte " + std::to_string(position));
  }

 private:
  enum class Place { Start, Names, Metadata, Fields, Shape, Offsets };

  void finish_tensor() {
    for (const char* field : {"dtype", "shape", "data_offsets"}) {
      if (!inner_keys_.contains(field)) fail(std::string(field) + " is missing");
    }
    header_.tensors.push_back(std::move(tensor_));
  }

  [[noreturn]] void unexpected(const std::string& what) const {
    switch (place_) {
      case Place::Start:
        fail("expected an object, found " + what);
      case Place::Names:
        fail(in_quotes(key_) + " must be an object, found " + what);
      case Place::Metadata:
        fail("the value of " + in_quotes(key_) + " must be a string, found " + what);
      case Place::Fields:
        fail(key_ + " must be " + (key_ == "dtype" ? "a string" : "an array") + ", found " + what);
      case Place::Shape:
        fail("shape must hold sizes, found " + what);
      case Place::Offsets:
        break;
    }
    fail("data_offsets must hold offsets, found " + what);
  }

  [[noreturn]] void fail(const std::string& reason) const {
    std::string where = "header";
    if (place_ == Place::Metadata) where = "__metadata__";
    if (place_ == Place::Fields || place_ == Place::Shape || place_ == Place::Offsets) {
      where = "tensor " + in_quotes(tensor_.name);
    }
    throw FormatError(name_ + ": " + where + ": " + reason);
  }

  std::string name_;
  TensorTable& header_;
  Place place_ = Place::Start;
  std::string key_;  // the latest
  std::set<std::string> names_;
  std::set<std::string> inner_keys_;
  TensorInfo tensor_;
  std::vector<std::size_t> offsets_;
};

// The JSON text between the length field and the data.
std::string_view json_text(std::span<const std::byte> file, const std::string& name) {
  std::uint64_t length = 0;
  if (file.size() < sizeof length) {
    throw FormatError(name + ": too short for a safetensors file: " + std::to_string(file.size()) + " bytes");
  }
  std::memcpy(&length, file.data(), sizeof length);
  if (length > largest_safetensors_header) {
    throw FormatError(name + ": header length " + std::to_string(length) +
                      " is above the format's limit of " + std::to_string(largest_safetensors_header) +
                      "; not a safetensors file?");
  }
  if (length > file.size() - sizeof length) {
    throw FormatError(name + ": header length " + std::to_string(length) + " reaches beyond the file of " +
                      std::to_string(file.size()) + " bytes");
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + sizeof length, length);
  if (!text.starts_with('{')) throw FormatError(name + ": the header does not start with '{'");
  // For the parser it would be the end of the text.
  if (const std::size_t place = text.find('\0'); place != std::string_view::npos)
    throw FormatError(name + ": the header is not valid JSON at byte " + std::to_string(place + 1));
  return text;
}

void require_consistent(const TensorInfo& tensor, const std::string& where) {
  if (tensor.begin > tensor.end) {
    throw FormatError(where + "data_offsets begin at " + std::to_string(tensor.begin) + " after their end " +
                      std::to_string(tensor.end));
  }
  const std::optional<std::size_t> expected = byte_count(tensor.dtype, tensor.shape);
  if (!expected) throw FormatError(where + "the size of shape " + shape_text(tensor.shape) + " overflows");
  if (*expected != tensor.size()) {
    throw FormatError(where + "data_offsets span " + std::to_string(tensor.size()) + " bytes, but shape " +
                      shape_text(tensor.shape) + " of " + std::string(name_of(tensor.dtype)) + " takes " +
                      std::to_string(*expected));
  }
}

void require_filled(const std::vector<TensorInfo>& tensors, std::size_t data_size, const std::string& name) {
  std::size_t covered = 0;
  for (const TensorInfo& tensor : tensors) {
    const std::string where = name + ": tensor " + in_quotes(tensor.name) + ": ";
    require_consistent(tensor, where);
    if (tensor.begin != covered) {
      throw FormatError(
          where + (tensor.begin < covered ? "overlaps the tensor before it" : "leaves a hole before it") +
          ": begins at " + std::to_string(tensor.begin) + ", expected " + std::to_string(covered));
    }
    if (tensor.end > data_size) {
      throw FormatError(where + "ends at " + std::to_string(tensor.end) + ", beyond the " +
                        std::to_string(data_size) + " bytes of data in the file");
    }
    covered = tensor.end;
  }
  if (covered != data_size) {
    throw FormatError(name + ": " + std::to_string(data_size - covered) + " bytes after the last tensor");
  }
}

}  // namespace

TensorTable parse_safetensors_header(std::span<const std::byte> file, std::string_view name) {
  TensorTable header;
  const std::string file_name(name);
  const std::string_view text = json_text(file, file_name);
  HeaderReader reader(name, header);
  nlohmann::json::sax_parse(text, &reader);

  header.data_offset = sizeof(std::uint64_t) + text.size();
  // An empty tensor shares its offset with the next one and comes first.
  std::stable_sort(header.tensors.begin(), header.tensors.end(),
                   [](const TensorInfo& a, const TensorInfo& b) {
                     return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
                   });
  require_filled(header.tensors, file.size() - header.data_offset, file_name);
  return header;
}

}  // namespace attnsym
