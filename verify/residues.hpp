#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "symmetry/gauge_blocks.hpp"
#include "symmetry/score_terms.hpp"
#include "symmetry/stored_attention.hpp"
#include "verify/hashed_random.hpp"
#include "verify/modular.hpp"

namespace attnsym {

/// The circuits of a module modulo a prime at one pair of random probes, x M y and x N y, and the constant c
/// y. Of a score with several terms, the sum of random multiples of them, of its offsets, and of the squares
/// of lengths that it is divided by, in units in which an epsilon is 1. Equal circuits have equal residues;
/// different ones have equal residues with small probability [N9].
struct ModuleResidues {
  std::vector<std::uint64_t> qk;  ///< per head
  std::vector<std::uint64_t> vo;  ///< per head
  std::uint64_t constant = 0;
};

/// A prime with its probes for two modules of one width.
class ResidueProbe {
 public:
  ResidueProbe(const AttentionConfig& a, const AttentionConfig& b, HashedRandom& random);

  /// @pre module.config is one of the two; all biases present; gated coordinates written out
  ModuleResidues operator()(const StoredAttention& module) const;

  const Modulus& modulus() const { return modulus_; }

 private:
  using Residues = std::vector<std::uint64_t>;

  // Squares of the lengths of probes as the norms of queries and keys see them, dk or h dk numbers each.
  struct Lengths {
    Residues queries;  // per head
    Residues keys;     // per group
  };

  void centre(Residues& probe) const;
  Residues read(const Residues& probe, const Matrix<double>& weight) const;
  std::uint64_t read_terms(const StoredAttention& module, Index head) const;
  Residues times_gain(Residues residues, const RowVector<double>& gain, const GaugeBlock& block,
                      bool turned) const;
  Lengths lengths_of(const StoredAttention& module) const;
  std::uint64_t normalised(std::uint64_t terms, const StoredAttention& module, Index head,
                           const Lengths& lengths) const;
  std::uint64_t read_gates(const StoredAttention& module, Index head) const;
  std::uint64_t read_offsets(const StoredAttention& module, Index head) const;
  std::uint64_t dot(const Residues& x, const Residues& y) const;

  Modulus modulus_;
  Residues query_probe_;   // D+1, the last for the query bias
  Residues key_probe_;     // D+1
  Residues value_probe_;   // D+1
  Residues gate_probe_;    // D+1
  Residues output_probe_;  // D
  std::map<Harmonic, std::uint64_t> harmonics_;
  Index reach_;       // of the longer table
  Residues offsets_;  // slope, sink, and the offsets of tables
  Residues lengths_;  // of queries and of keys
};

/// An upper bound of the probability that one probe takes two different circuits of these modules for equal:
/// the residue of a nonzero bilinear form vanishes at random probes, or the prime divides all entries [N9].
double collision_probability(const StoredAttention& a, const StoredAttention& b);

}  // namespace attnsym
