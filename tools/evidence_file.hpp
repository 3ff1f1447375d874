#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "symmetry/attention_symmetry.hpp"
#include "verify/verdict.hpp"

namespace attnsym {

/// A certificate: everything `attnsym certify` needs besides the two models. Stored as one safetensors file
/// with the facts in
/// __metadata__ and, per layer, head_image, the gauges with their inverses, and the shifts, or the class of
/// every head of A and of B; or a witness input.
struct CertificateFile {
  std::string verdict;                         ///< identical, equivalent or distinct
  bool exact = false;                          ///< about the stored numbers, nothing rounded [N9]
  std::uint64_t seed = 0;                      ///< of the search or of the drawn element; told, not used
  std::map<std::string, std::string> a_files;  ///< SHA-256 by file name
  std::map<std::string, std::string> b_files;
  std::vector<EqualityEvidence> layers;  ///< per layer; empty for distinct
  std::size_t witness_layer = 0;
  Matrix<double> witness_input;  ///< n x D; empty unless distinct

  /// Of whole models only: `layers` is then about the modules of A moved by the stream's change of basis.
  struct Model {
    std::string outputs;                      ///< logits or probabilities
    Matrix<double> stream;                    ///< D x D; empty for distinct
    std::vector<std::vector<Index>> neurons;  ///< see ModelEvidence
    std::vector<Index> tokens;                ///< empty unless distinct
  };
  std::optional<Model> model;
};

/// The file's bytes. A digest over all of them, with its own digits zeroed, is part of the metadata, so that
/// no byte can change unnoticed.
std::vector<std::byte> serialize(const CertificateFile& certificate);

/// Absent if the file is a certificate whose digest does not hold: it has been changed.
/// @throws IoError, FormatError if the file is not a certificate, SingularError if a gauge in it is not one.
std::optional<CertificateFile> read_certificate(const std::filesystem::path& path);

/// A witness for replay elsewhere: tensors input, output_a, output_b, n x D each; layer, gap and noise in the
/// metadata.
std::vector<std::byte> serialize(const Witness& witness, std::size_t layer);

}  // namespace attnsym
