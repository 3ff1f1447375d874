#include "checkpoint/shard_rewrite.hpp"

#include <algorithm>

namespace attnsym {
namespace {

void assign_offsets(std::vector<TensorInfo>& tensors) {
  std::size_t offset = 0;
  for (TensorInfo& tensor : tensors) {
    const std::size_t size = tensor.size();
    tensor.begin = offset;
    tensor.end = offset += size;
  }
}

bool is_aligned(const TensorInfo& tensor) { return tensor.begin % size_of(tensor.dtype) == 0; }

void lay_out(std::vector<TensorInfo>& tensors) {
  assign_offsets(tensors);
  if (std::ranges::all_of(tensors, is_aligned)) return;
  std::ranges::stable_sort(tensors, std::greater<>(),
                           [](const TensorInfo& tensor) { return size_of(tensor.dtype); });
  assign_offsets(tensors);
}

// @return whether any dtype was another one
bool change_dtypes(std::vector<TensorInfo>& tensors, const std::set<std::string>& replaced, Dtype store_as) {
  bool changed = false;
  for (TensorInfo& tensor : tensors) {
    if (tensor.dtype == store_as || !replaced.contains(tensor.name)) continue;
    tensor.end = tensor.begin + tensor.size() / size_of(tensor.dtype) * size_of(store_as);
    tensor.dtype = store_as;
    changed = true;
  }
  return changed;
}

}  // namespace

ShardRewrite::ShardRewrite(const TensorFile& source, const std::filesystem::path& target,
                           const std::set<std::string>& replaced, std::optional<Dtype> store_as)
    : source_(source.path()), target_(target) {
  File written = File::create(target);
  std::vector<TensorInfo> tensors = source.tensors();
  if (store_as && change_dtypes(tensors, replaced, *store_as)) {
    lay_out(tensors);
    const std::vector<std::byte> head = serialize_header(tensors, source.metadata());
    written.write_at(0, head);
    data_offset_ = head.size();
  } else {
    data_offset_ = source.header().data_offset;
    written.copy_from(File::open(source_), 0, 0, data_offset_);
  }
  data_size_ = tensors.empty() ? 0 : tensors.back().end;
  plan(source, tensors, replaced);
}

// Tensors that stay neighbours are copied in one go.
bool ShardRewrite::Range::absorb(const Range& next) {
  if (source + length != next.source || target + length != next.target) return false;
  length += next.length;
  return true;
}

void ShardRewrite::plan(const TensorFile& source, const std::vector<TensorInfo>& tensors,
                        const std::set<std::string>& replaced) {
  for (const TensorInfo& tensor : tensors) {
    if (replaced.contains(tensor.name)) {
      place_of_[tensor.name] = tensor.begin;
      continue;
    }
    const std::size_t source_begin = source.find(tensor.name)->begin;
    const Range range{source.header().data_offset + source_begin, data_offset_ + tensor.begin, tensor.size()};
    if (kept_.empty() || !kept_.back().absorb(range)) kept_.push_back(range);
  }
}

void ShardRewrite::copy_kept() {
  if (kept_.empty()) return;
  const File from = File::open(source_);
  File to = File::open_to_write(target_);
  for (const Range& range : kept_) to.copy_from(from, range.source, range.target, range.length);
}

void ShardRewrite::write(const NamedTensor& tensor) {
  File::open_to_write(target_).write_at(data_offset_ + place_of_.at(tensor.name), tensor.bytes);
}

}  // namespace attnsym
