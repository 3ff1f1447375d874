#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace attnsym::testing {

/// A safetensors file as the header text says, right or wrong, followed by some data.
inline std::vector<std::byte> raw_safetensors(std::string_view header, std::size_t data_size,
                                              std::uint64_t stated_length) {
  std::vector<std::byte> file(8 + header.size() + data_size);
  std::memcpy(file.data(), &stated_length, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  return file;
}

inline std::vector<std::byte> raw_safetensors(std::string_view header, std::size_t data_size) {
  return raw_safetensors(header, data_size, header.size());
}

}  // namespace attnsym::testing
