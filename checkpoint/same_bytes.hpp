#pragma once

#include "checkpoint/checkpoint.hpp"

namespace attnsym {

/// What two checkpoints read from equal bytes in the same way: by equal configurations and tables, under the
/// same names but for what precedes all of them, with equal dtypes and shapes, and with no number that is not
/// finite. Then both have the same numbers, and nothing has to be decoded to know it. Files may be cut into
/// shards differently. Refers to both.
class SameBytes {
 public:
  SameBytes(const Checkpoint& a, const Checkpoint& b);

  /// Of the attention of a layer. @throws FormatError as ModuleTensors
  bool attention(Index layer) const;

  /// Of all of a block, and of all outside of blocks that a whole model reads. @throws FormatError as
  /// OuterTensors
  bool block(Index layer) const;
  bool outside() const;

 private:
  bool are_same(const std::vector<StoredTensor>& of_a, const std::vector<StoredTensor>& of_b) const;

  const Checkpoint& a_;
  const Checkpoint& b_;
  bool read_alike_;
};

}  // namespace attnsym
