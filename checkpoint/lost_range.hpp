#pragma once

#include <cstdint>
#include <span>

#include "checkpoint/checkpoint.hpp"
#include "symmetry/attention_weights.hpp"

namespace attnsym {

/// What numbers of a format lose because they are too small for it, added up over pieces of a tensor.
class LostRange {
 public:
  explicit LostRange(const Rounding& rounding) : rounding_(rounding) {}

  void add(std::span<const double> numbers);

  /// The root of the sum of squares that subnormal steps may take, relative to that of all. 0 for F64, whose
  /// range nothing leaves that is read.
  double share() const;

  bool is_kept() const { return !(share() > 2 * rounding_.relative); }

  /// The largest number that is not kept to the unit roundoff, and how many came before it.
  double largest() const { return largest_; }
  std::int64_t place() const { return place_; }

  /// How many numbers there were.
  std::int64_t count() const { return count_; }

 private:
  Rounding rounding_;
  double lost_ = 0;
  double all_ = 0;
  double largest_ = 0;
  std::int64_t place_ = 0;
  std::int64_t count_ = 0;
};

/// Refuses to rewrite stored numbers whose fourth powers would leave the range of double: sizes above 1e60,
/// or none of at least 1e-60. F64 alone can hold them. @throws FormatError naming file, tensor and entry
void require_ordinary_sizes(const StoredTensor& tensor);

/// The same of the attention of a layer, head by head. @throws FormatError naming file, tensor and head
void require_ordinary_sizes(const Checkpoint& checkpoint, Index layer);

/// Refuses new numbers of a whole tensor that lose more than twice the format's unit roundoff, and more than
/// the tensor that they replace. @param lost  of all of them @param dtype  they are to be stored in
/// @throws FormatError naming file, tensor and the largest entry that is lost
void require_range(const StoredTensor& tensor, const LostRange& lost, Dtype dtype);

/// The same of the attention of a layer, head by head.
/// @throws FormatError naming file, tensor and head
void require_range(const Checkpoint& checkpoint, Index layer, const AttentionWeights<double>& weights,
                   std::optional<Dtype> store_as);

}  // namespace attnsym
