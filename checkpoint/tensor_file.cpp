#include "checkpoint/tensor_file.hpp"

#include <algorithm>
#include <numeric>

namespace attnsym {

TensorFile::TensorFile(MappedFile file, TensorTable table)
    : file_(std::move(file)), header_(std::move(table)), by_name_(header_.tensors.size()) {
  std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
  std::ranges::sort(by_name_, {}, [&](std::size_t i) -> std::string_view { return header_.tensors[i].name; });
}

const TensorInfo* TensorFile::find(std::string_view name) const {
  const auto name_at = [&](std::size_t i) -> std::string_view { return header_.tensors[i].name; };
  const auto found = std::ranges::lower_bound(by_name_, name, {}, name_at);
  return found != by_name_.end() && name_at(*found) == name ? &header_.tensors[*found] : nullptr;
}

}  // namespace attnsym
