#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tools/explanation.hpp"
#include "verify/precision.hpp"
#include "verify/verdict.hpp"

namespace attnsym {

/// All layers' decisions and what follows from them.
struct CheckResult {
  std::vector<Decision> layers;  ///< none where shapes alone tell the models apart
  std::size_t worst_layer = 0;
  std::string verdict;
  std::string reason;
  std::string group;
  std::string scope;
  std::optional<double> error_probability;                   ///< exact mode: that an answer "equal" is wrong
  std::optional<PrecisionLadder> ladder;                     ///< of the layer that decides, if asked for
  std::optional<std::vector<LayerExplanation>> explanation;  ///< of the layers that differ, if asked for
  bool as_decoded = false;  ///< a layer was settled by the decoded numbers, where quantisation is too coarse
  std::vector<std::string> unread{};  ///< tensors of either that no class of its family reads
  std::uint64_t seed = 0;
  std::size_t bytes_read = 0;
  double seconds = 0;
  std::optional<std::string> certificate;
  std::optional<std::string> witness_file;

  const Decision& worst() const { return layers[worst_layer]; }
};

/// One JSON object, schema attnsym.check/1, on standard output.
void print_json(const CheckResult& result);

/// For people, on standard output.
void print_text(const CheckResult& result);

}  // namespace attnsym
