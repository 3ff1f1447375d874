#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attnsym::testing {

/// A GGUF file put together field by field, right or wrong.
class RawGguf {
 public:
  RawGguf() { text("GGUF"); }

  template <class Number>
  RawGguf& number(Number value) {
    const auto* bytes = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), bytes, bytes + sizeof value);
    return *this;
  }

  RawGguf& u32(std::uint32_t value) { return number(value); }
  RawGguf& u64(std::uint64_t value) { return number(value); }

  /// Without a length.
  RawGguf& text(std::string_view text) {
    for (const char c : text) bytes_.push_back(static_cast<std::byte>(c));
    return *this;
  }

  RawGguf& name(std::string_view name) { return u64(name.size()).text(name); }

  /// Version 3 and the two counts.
  RawGguf& counts(std::uint64_t tensors, std::uint64_t pairs) { return u32(3).u64(tensors).u64(pairs); }

  /// Name, extents as the file has them (the contiguous one first), type, offset.
  RawGguf& tensor(std::string_view tensor_name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
                  std::uint64_t offset) {
    name(tensor_name).u32(static_cast<std::uint32_t>(extents.size()));
    for (const std::uint64_t extent : extents) u64(extent);
    return u32(type).u64(offset);
  }

  /// Zeros up to a multiple, and then so many bytes.
  RawGguf& data(std::size_t size, std::size_t alignment = 32) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment + size);
    return *this;
  }

  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// Numbers of types and values in GGUF files.
struct Gguf {
  static constexpr std::uint32_t f32 = 0, f16 = 1, q4_0 = 2, q8_0 = 8;
  static constexpr std::uint32_t u8_value = 0, u32_value = 4, f32_value = 6, bool_value = 7, text_value = 8,
                                 array_value = 9;
};

}  // namespace attnsym::testing
