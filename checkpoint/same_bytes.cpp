#include "checkpoint/same_bytes.hpp"

#include <algorithm>
#include <cstring>

#include "checkpoint/model_tensors.hpp"
#include "checkpoint/read_attention.hpp"

namespace attnsym {
namespace {

// Whether all numbers of so many bits have an exponent that is not all ones; without a branch, which
// compilers turn into vector code.
template <class Bits>
bool all_finite(std::span<const std::byte> bytes, Bits exponent) {
  std::size_t others = 0;
  for (std::size_t i = 0; i + sizeof(Bits) <= bytes.size(); i += sizeof(Bits)) {
    Bits bits = 0;
    std::memcpy(&bits, bytes.data() + i, sizeof bits);
    others += (bits & exponent) == exponent ? 1 : 0;
  }
  return others == 0;
}

bool all_finite(std::span<const std::byte> bytes, Dtype dtype) {
  if (dtype == Dtype::F64) return all_finite<std::uint64_t>(bytes, 0x7ff0'0000'0000'0000U);
  if (dtype == Dtype::F32) return all_finite<std::uint32_t>(bytes, 0x7f80'0000U);
  if (dtype == Dtype::F16) return all_finite<std::uint16_t>(bytes, 0x7c00U);
  return dtype == Dtype::BF16 && all_finite<std::uint16_t>(bytes, 0x7f80U);
}

// Piece by piece, so that numbers are looked at while they are in the cache.
bool are_equal_and_finite(const StoredTensor& a, const StoredTensor& b) {
  constexpr std::size_t piece = 1 << 18;
  const std::span<const std::byte> of_a = a.bytes();
  const std::span<const std::byte> of_b = b.bytes();
  for (std::size_t first = 0; first < of_a.size(); first += piece) {
    const std::size_t size = std::min(piece, of_a.size() - first);
    if (std::memcmp(of_a.data() + first, of_b.data() + first, size) != 0) return false;
    if (!all_finite(of_a.subspan(first, size), a.info->dtype)) return false;
  }
  return true;
}

std::string_view without_prefix(const Checkpoint& checkpoint, const StoredTensor& tensor) {
  const std::string_view name = tensor.info->name;
  return name.starts_with(checkpoint.prefix()) ? name.substr(checkpoint.prefix().size()) : name;
}

}  // namespace

SameBytes::SameBytes(const Checkpoint& a, const Checkpoint& b) : a_(a), b_(b), read_alike_(a.reads_like(b)) {}

bool SameBytes::attention(Index layer) const {
  return read_alike_ && are_same(stored_attention_tensors(a_, layer), stored_attention_tensors(b_, layer));
}

bool SameBytes::block(Index layer) const {
  return read_alike_ && are_same(stored_block_tensors(a_, layer), stored_block_tensors(b_, layer));
}

bool SameBytes::outside() const {
  return read_alike_ && are_same(stored_outside_tensors(a_), stored_outside_tensors(b_));
}

bool SameBytes::are_same(const std::vector<StoredTensor>& of_a, const std::vector<StoredTensor>& of_b) const {
  const auto same_shape = [&](const StoredTensor& a, const StoredTensor& b) {
    return a.info->dtype == b.info->dtype && a.info->shape == b.info->shape &&
           without_prefix(a_, a) == without_prefix(b_, b);
  };
  return std::ranges::equal(of_a, of_b, same_shape) && std::ranges::equal(of_a, of_b, are_equal_and_finite);
}

}  // namespace attnsym
