#include "checkpoint/safetensors.hpp"

namespace attnsym {

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  MappedFile file = MappedFile::open(path);
  TensorTable header = parse_safetensors_header(file.bytes(), path.string());
  return SafetensorsFile(TensorFile(std::move(file), std::move(header)));
}

}  // namespace attnsym
