#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "checkpoint/mapped_file.hpp"
#include "checkpoint/tensor_table.hpp"

namespace attnsym {

/// A file of tensors, mapped, with its table read and checked by whoever knows the format.
class TensorFile {
 public:
  /// @param table of this very file: every tensor lies inside it
  TensorFile(MappedFile file, TensorTable table);

  const std::filesystem::path& path() const { return file_.path(); }
  const TensorTable& header() const { return header_; }
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  /// Bytes of the whole file.
  std::size_t size() const { return file_.bytes().size(); }

  /// The tensor of this name, or nullptr. It lives as long as the file's header, also when the file is moved.
  const TensorInfo* find(std::string_view name) const;

  /// @throws IoError if somebody has written to the file since it was opened.
  void require_unchanged() const { file_.require_unchanged(); }

  /// The data of one of this file's tensors.
  std::span<const std::byte> bytes(const TensorInfo& tensor) const {
    return file_.bytes().subspan(header_.data_offset + tensor.begin, tensor.size());
  }

  /// Asks the kernel to read a tensor ahead.
  void will_need(const TensorInfo& tensor) const {
    file_.will_need(header_.data_offset + tensor.begin, tensor.size());
  }

  /// Frees the memory that holds a tensor; it is read again if it is used.
  void done_with(const TensorInfo& tensor) const {
    file_.done_with(header_.data_offset + tensor.begin, tensor.size());
  }

 private:
  MappedFile file_;
  TensorTable header_;
  std::vector<std::size_t> by_name_;  ///< positions in header_.tensors, sorted by name
};

}  // namespace attnsym
