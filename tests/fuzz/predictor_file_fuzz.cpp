#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>

#include "symmetry/errors.hpp"
#include "tools/predictor_file.hpp"

namespace {

// A file in memory.
class MemoryFile {
 public:
  explicit MemoryFile(std::span<const std::byte> bytes) : descriptor_(memfd_create("fuzz", 0)) {
    if (descriptor_ < 0 || write(descriptor_, bytes.data(), bytes.size()) != std::ssize(bytes)) std::abort();
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { close(descriptor_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

std::optional<attnsym::PredictorFile> read(std::span<const std::byte> bytes) {
  try {
    return attnsym::read_predictor(MemoryFile(bytes).path());
  } catch (const attnsym::FormatError&) {
    return std::nullopt;
  }
}

}  // namespace

// Every input is either refused with FormatError, or read into a predictor with which training can go on and
// which is written back as it was read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::optional<attnsym::PredictorFile> predictor = read(std::as_bytes(std::span(data, size)));
  if (!predictor) return 0;
  const double rate = predictor->options.schedule.rate(predictor->trainer.epoch);
  if (!predictor->is_trained() && !(rate >= 0 && std::isfinite(rate))) std::abort();
  if (!attnsym::is_finite(predictor->trainer.network)) std::abort();
  const auto bytes = attnsym::serialize(*predictor);
  std::optional<attnsym::PredictorFile> again = read(bytes);
  if (!again || attnsym::serialize(*again) != bytes) std::abort();
  return 0;
}
