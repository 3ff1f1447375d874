#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/checkpoint.hpp"
#include "checkpoint/file.hpp"
#include "checkpoint/safetensors_writer.hpp"

namespace attnsym {

/// A GGUF or llama2.c file in the making as a safetensors file that Hugging Face's libraries read: tensors
/// under their names there, transposed where they are, quantised numbers in F32, gains less what the
/// converter added.
class ConvertedFile {
 public:
  /// Writes the header.
  /// @param source  foreign(); outlives this object
  /// @param replaced  names of the tensors that write() will bring @param store_as  their dtype, see
  /// written_dtype if absent
  /// @throws FormatError with file, tensor and reason if one cannot be written: because Hugging Face has no
  /// name for it, or because its dtype cannot be decoded.
  ConvertedFile(const Checkpoint& source, const std::filesystem::path& target,
                const std::set<std::string>& replaced, std::optional<Dtype> store_as);

  /// Puts a replaced tensor's data in place; from several threads if need be.
  void write(const NamedTensor& tensor);

  /// Converts all other tensors; may run beside write().
  void copy_kept();

 private:
  void plan(const std::set<std::string>& replaced, std::optional<Dtype> store_as);
  void convert(const StoredTensor& from, const TensorInfo& to);

  const Checkpoint& source_;
  File target_;
  std::size_t data_offset_ = 0;
  std::map<std::string, TensorInfo, std::less<>> replaced_;
  std::vector<TensorInfo> kept_;  ///< as they are written
};

}  // namespace attnsym
