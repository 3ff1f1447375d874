#include "verify/hashed_random.hpp"

#include <openssl/evp.h>

#include <bit>
#include <cstring>

#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are hashed as they lie in memory");

void require(int done) {
  if (done != 1) throw Error("OpenSSL cannot compute SHA-256");
}

void add_config(Hasher& hasher, const AttentionConfig& c) {
  for (const Index number :
       {c.model_width, c.heads, c.groups, c.key_width, c.value_width, c.window, c.rotary.pairs(),
        static_cast<Index>(c.slopes.size()), static_cast<Index>(c.distance_buckets.size())})
    hasher.add_one(number);
  for (const bool flag : {c.query_bias, c.key_bias, c.value_bias, c.output_bias, c.causal, c.sinks,
                          c.output_gate, c.gate_bias, c.centred_inputs, c.qk_norm.has_value()})
    hasher.add_one(static_cast<char>(flag));
  for (const double number : {c.scale, c.softcap, c.rotary.gain}) hasher.add_one(number);
  hasher.add_all(c.rotary.frequencies).add_one(c.rotary.layout).add_all(c.slopes).add_all(c.distance_buckets);
  if (!c.qk_norm) return;
  hasher.add_one(c.qk_norm->epsilon).add_one(c.qk_norm->gains);
  hasher.add_one(static_cast<char>(c.qk_norm->over_all_heads));
}

}  // namespace

void Hasher::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Hasher::Hasher() : context_(EVP_MD_CTX_new()) {
  require(context_ ? EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) : 0);
}

Hasher& Hasher::add(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
  return *this;
}

Digest Hasher::digest() {
  Digest result{};
  require(EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(result.data()), nullptr));
  return result;
}

Digest digest_of(const StoredAttention& module) {
  Hasher hasher;
  add_config(hasher, module.config);
  for_each_slot(module.weights, [&](const auto& slot) { hasher.add_one(slot.size()).add_all(slot); });
  return hasher.digest();
}

HashedRandom::HashedRandom(std::uint64_t seed, std::string_view purpose, const std::vector<Digest>& inputs) {
  Hasher hasher;
  hasher.add_one(seed).add_one(purpose.size()).add(std::as_bytes(std::span(purpose)));
  for (const Digest& input : inputs) hasher.add_all(input);
  key_ = hasher.digest();
}

std::uint64_t HashedRandom::bits() {
  if (used_ == block_.size()) refill();
  return block_[used_++];
}

void HashedRandom::refill() {
  const Digest digest = Hasher().add_all(key_).add_one(counter_++).digest();
  std::memcpy(block_.data(), digest.data(), digest.size());
  used_ = 0;
}

}  // namespace attnsym
