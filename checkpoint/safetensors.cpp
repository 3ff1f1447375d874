#include "checkpoint/safetensors.hpp"

#include <algorithm>
#include <numeric>

namespace attnsym {

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  MappedFile file = MappedFile::open(path);
  SafetensorsHeader header = parse_safetensors_header(file.bytes(), path.string());
  return SafetensorsFile(std::move(file), std::move(header));
}

SafetensorsFile::SafetensorsFile(MappedFile file, SafetensorsHeader header)
    : file_(std::move(file)), header_(std::move(header)), by_name_(header_.tensors.size()) {
  std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
  std::ranges::sort(by_name_, {}, [&](std::size_t i) -> std::string_view { return header_.tensors[i].name; });
}

const TensorInfo* SafetensorsFile::find(std::string_view name) const {
  const auto name_at = [&](std::size_t i) -> std::string_view { return header_.tensors[i].name; };
  const auto found = std::ranges::lower_bound(by_name_, name, {}, name_at);
  return found != by_name_.end() && name_at(*found) == name ? &header_.tensors[*found] : nullptr;
}

}  // namespace attnsym
