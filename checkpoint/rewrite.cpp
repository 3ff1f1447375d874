#include "checkpoint/rewrite.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/converted_file.hpp"
#include "checkpoint/copy_tree.hpp"
#include "checkpoint/lost_range.hpp"
#include "checkpoint/model_tensors.hpp"
#include "checkpoint/output_list.hpp"
#include "checkpoint/read_attention.hpp"
#include "checkpoint/shard_index.hpp"
#include "checkpoint/shard_rewrite.hpp"
#include "checkpoint/write_attention.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

bool contains(const fs::path& directory, const fs::path& path) {
  return std::mismatch(directory.begin(), directory.end(), path.begin(), path.end()).first == directory.end();
}

// Replacing a directory deletes what was in it, so it has to be what --force is meant for: an older output.
void require_replaceable(const fs::path& out, bool by_directory) {
  const fs::file_status status = fs::symlink_status(out);
  if (!fs::exists(status) || fs::is_symlink(status)) return;
  if (fs::is_directory(status) != by_directory) {
    throw IoError(out.string() + (by_directory ? ": is a file, the output is a directory"
                                               : ": is a directory, the output is a file"));
  }
  if (by_directory) require_own_output(out);
}

bool writes_directory(const Checkpoint& source) { return source.is_directory() || source.foreign(); }

const fs::path& checked_destination(const Checkpoint& source, const fs::path& out, Overwrite overwrite) {
  try {
    const fs::path in = fs::canonical(source.path());
    fs::path to = fs::weakly_canonical(fs::absolute(out));
    if (!to.has_filename()) to = to.parent_path();  // a trailing slash
    if (contains(in, to) || contains(to, in)) {
      throw IoError(out.string() + ": overlaps the source " + source.path().string() +
                    ", which is never written to");
    }
    if (overwrite == Overwrite::Yes) require_replaceable(out, writes_directory(source));
  } catch (const fs::filesystem_error& error) {
    throw IoError(out.string() + ": cannot be written: " + error.code().message());
  }
  return out;
}

std::set<std::string> attention_tensor_names(const Checkpoint& checkpoint) {
  std::set<std::string> names;
  for (Index layer = 0; layer < layer_count(checkpoint); ++layer) {
    for (const StoredTensor& tensor : stored_attention_tensors(checkpoint, layer))
      names.insert(tensor.info->name);
  }
  return names;
}

}  // namespace

class CheckpointRewrite::Impl {
 public:
  Impl(const Checkpoint& source, const fs::path& out, Overwrite overwrite, std::optional<Dtype> store_as,
       RewriteScope scope, Sync sync)
      : source_(source),
        store_as_(store_as),
        scope_(scope),
        output_(checked_destination(source, out, overwrite), overwrite, sync),
        is_written_(static_cast<std::size_t>(layer_count(source))) {
    const std::set<std::string> replaced =
        scope == RewriteScope::Model ? model_tensor_names(source) : attention_tensor_names(source);
    for (const std::string& name : replaced) {
      if (const auto tensor = source.find(name)) require_ordinary_sizes(*tensor);
    }
    for (Index layer = 0; layer < layer_count(source); ++layer) require_ordinary_sizes(source, layer);
    if (source.foreign()) {
      start_conversion(replaced);
      return;
    }
    if (source.is_directory()) copy_other_files();
    for (const TensorFile& file : source.files()) {
      shards_.emplace_back(file, target_of(file.path()), replaced, store_as);
    }
    if (source.index_path()) write_index(*source.index_path());
  }

  void write_attention(Index layer, const AttentionWeights<double>& weights) {
    write(attention_tensors(source_, layer, weights, store_as_));
    is_written_[static_cast<std::size_t>(layer)] = true;
  }

  void write_block(Index layer, const Block<double>& block) {
    write(block_tensors(source_, layer, block, store_as_));
  }

  void write_outside(const TransformerWeights<double>& outside) {
    write(outside_tensors(source_, outside, store_as_));
  }

  void copy_rest() {
    for (ShardRewrite& shard : shards_) shard.copy_kept();
    if (converted_) converted_->copy_kept();
    rest_is_copied_ = true;
  }

  const fs::path& complete() {
    if (is_complete_) return output_.path();
    if (!rest_is_copied_) copy_rest();
    for (Index layer = 0; scope_ == RewriteScope::Attention && layer < layer_count(source_); ++layer) {
      if (!is_written_[static_cast<std::size_t>(layer)])
        write_attention(layer, read_attention(source_, layer, Radii::Decoded).weights);
    }
    source_.require_unchanged();
    if (writes_directory(source_)) write_output_list(output_.path());
    is_complete_ = true;
    return output_.path();
  }

  void commit() {
    complete();
    output_.commit();
  }

  const std::vector<std::string>& left_out() const { return left_out_; }

 private:
  void write(const std::vector<NamedTensor>& tensors) {
    for (const NamedTensor& tensor : tensors) {
      if (converted_) {
        converted_->write(tensor);
        continue;
      }
      std::ranges::find_if(shards_, [&](const ShardRewrite& shard) {
        return shard.holds(tensor.name);
      })->write(tensor);
    }
  }

  fs::path target_of(const fs::path& file) const {
    return source_.is_directory() ? output_.path() / file.lexically_relative(source_.path()) : output_.path();
  }

  // A directory in place of one file that says everything.
  void start_conversion(const std::set<std::string>& replaced) {
    fs::create_directory(output_.path());
    const std::string& config = source_.foreign()->config;
    File::create(output_.path() / "config.json").write_at(0, std::as_bytes(std::span(config)));
    converted_.emplace(source_, output_.path() / "model.safetensors", replaced, store_as_);
  }

  void copy_other_files() {
    std::set<fs::path> skip;
    for (const TensorFile& file : source_.files()) skip.insert(file.path());
    if (source_.index_path()) skip.insert(*source_.index_path());
    left_out_ = copy_tree(source_.path(), output_.path(), skip);
  }

  void write_index(const fs::path& index_path) const {
    std::size_t old_total = 0;
    for (const TensorFile& file : source_.files()) old_total += file.size() - file.header().data_offset;
    std::size_t total = 0;
    for (const ShardRewrite& shard : shards_) total += shard.data_size();

    const MappedFile index = MappedFile::open(index_path);
    File target = File::create(target_of(index_path));
    if (total == old_total) return target.write_at(0, index.bytes());
    const std::string_view text(reinterpret_cast<const char*>(index.bytes().data()), index.bytes().size());
    const std::string updated = with_total_size(text, total);
    target.write_at(0, std::as_bytes(std::span(updated)));
  }

  const Checkpoint& source_;
  std::optional<Dtype> store_as_;
  RewriteScope scope_;
  AtomicOutput output_;
  std::vector<ShardRewrite> shards_;
  std::optional<ConvertedFile> converted_;  // in place of shards
  std::vector<std::string> left_out_;
  bool rest_is_copied_ = false;
  bool is_complete_ = false;
  std::vector<char> is_written_;  // not vector<bool>: threads write neighbouring entries
};

CheckpointRewrite::CheckpointRewrite(const Checkpoint& source, const fs::path& out, Overwrite overwrite,
                                     std::optional<Dtype> store_as, RewriteScope scope, Sync sync)
    : impl_(std::make_unique<Impl>(source, out, overwrite, store_as, scope, sync)) {}

CheckpointRewrite::CheckpointRewrite(CheckpointRewrite&&) noexcept = default;
CheckpointRewrite::~CheckpointRewrite() = default;

void CheckpointRewrite::write_attention(Index layer, const AttentionWeights<double>& weights) {
  impl_->write_attention(layer, weights);
}

void CheckpointRewrite::write_block(Index layer, const Block<double>& block) {
  impl_->write_block(layer, block);
}

void CheckpointRewrite::write_outside(const TransformerWeights<double>& outside) {
  impl_->write_outside(outside);
}

void CheckpointRewrite::copy_rest() { impl_->copy_rest(); }

const fs::path& CheckpointRewrite::complete() { return impl_->complete(); }

void CheckpointRewrite::commit() { impl_->commit(); }

const std::vector<std::string>& CheckpointRewrite::left_out() const { return impl_->left_out(); }

}  // namespace attnsym
