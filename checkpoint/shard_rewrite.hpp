#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/file.hpp"
#include "checkpoint/safetensors.hpp"
#include "checkpoint/safetensors_writer.hpp"

namespace attnsym {

/// A copy of one weight file in which some tensors will be replaced. Files are open only while they are
/// written: there may be thousands of shards.
class ShardRewrite {
 public:
  /// Writes the header. Where no dtype changes, the header is the source's bit for bit.
  /// Where one does, tensors keep their order unless that would leave one unaligned, which some readers
  /// refuse: then they are ordered by dtype size, as writers of the format do.
  /// @param replaced names of the tensors that write() will bring; names of other files' tensors do no harm.
  /// @param store_as their new dtype, the old ones if absent.
  ShardRewrite(const TensorFile& source, const std::filesystem::path& target,
               const std::set<std::string>& replaced, std::optional<Dtype> store_as);

  /// Whether this file is to hold the tensor.
  bool holds(std::string_view name) const { return place_of_.contains(name); }

  /// Puts a replaced tensor's data in place; from several threads if need be.
  void write(const NamedTensor& tensor);

  /// Copies all other tensors; may run beside write().
  void copy_kept();

  /// Bytes of all tensors.
  std::size_t data_size() const { return data_size_; }

 private:
  /// Bytes that move from one file offset to another.
  struct Range {
    std::size_t source, target, length;

    bool absorb(const Range& next);
  };

  void plan(const TensorFile& source, const std::vector<TensorInfo>& tensors,
            const std::set<std::string>& replaced);

  std::filesystem::path source_;
  std::filesystem::path target_;
  std::size_t data_offset_ = 0;
  std::size_t data_size_ = 0;
  std::vector<Range> kept_;
  std::map<std::string, std::size_t, std::less<>> place_of_;  ///< replaced tensor to offset in the data
};

}  // namespace attnsym
