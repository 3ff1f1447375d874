#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "symmetry/errors.hpp"

namespace attnsym {

/// Reads little-endian fields one after the other, and never beyond the end.
class ByteReader {
 public:
  /// @param name goes into messages: the file's name.
  ByteReader(std::span<const std::byte> bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  std::size_t position() const { return position_; }
  std::size_t left() const { return bytes_.size() - position_; }

  /// @param what  is read, for the message
  /// @throws FormatError if the file ends before
  template <class Number>
  Number number(std::string_view what) {
    Number result;
    std::memcpy(&result, take(sizeof result, what).data(), sizeof result);
    return result;
  }

  /// A text without its length.
  std::string_view text(std::size_t length, std::string_view what) {
    const std::span<const std::byte> bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  void skip(std::size_t length, std::string_view what) { take(length, what); }

  [[noreturn]] void fail(const std::string& reason) const { throw FormatError(name_ + ": " + reason); }

 private:
  std::span<const std::byte> take(std::size_t length, std::string_view what) {
    if (length > left())
      fail("the file of " + std::to_string(bytes_.size()) + " bytes ends in " + std::string(what) +
           ", which takes " + std::to_string(length) + " bytes from byte " + std::to_string(position_) +
           " on");
    const std::span<const std::byte> taken = bytes_.subspan(position_, length);
    position_ += length;
    return taken;
  }

  std::span<const std::byte> bytes_;
  std::string name_;
  std::size_t position_ = 0;
};

}  // namespace attnsym
