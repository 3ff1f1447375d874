#include "checkpoint/sha256.hpp"

#include <openssl/evp.h>

#include <array>
#include <memory>
#include <vector>

#include "checkpoint/file.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

class Hasher {
 public:
  Hasher() { require(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr)); }

  void update(std::span<const std::byte> bytes) {
    require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
  }

  std::string hex_digest() {
    std::array<unsigned char, 32> digest{};
    require(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr));
    std::string text;
    for (const unsigned char byte : digest) {
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
    return text;
  }

 private:
  static void require(bool done) {
    if (!done) throw Error("OpenSSL cannot compute SHA-256");
  }

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

}  // namespace

std::string sha256(std::span<const std::byte> bytes) {
  Hasher hasher;
  hasher.update(bytes);
  return hasher.hex_digest();
}

std::string sha256_file(const std::filesystem::path& path) {
  File file = File::open(path);
  Hasher hasher;
  std::vector<std::byte> buffer(1 << 20);
  while (const std::size_t count = file.read(buffer)) hasher.update({buffer.data(), count});
  return hasher.hex_digest();
}

}  // namespace attnsym
