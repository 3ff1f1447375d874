#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "symmetry/attention_symmetry.hpp"
#include "verify/class_comparison.hpp"
#include "verify/constant_comparison.hpp"
#include "verify/witness.hpp"

namespace attnsym {

/// B is A moved by an exact gauge: permutations, signs and powers of two, every stored number equal.
struct Identical {
  AttentionElement<double> b_from_a;
};

/// Why two modules compute the same function: the change of basis that carries A to B, or, where there is
/// none, the heads with one QK circuit each, whose OV circuits have the same sums in A and in B [N3]. Of
/// gated modules the heads are the coordinates, see with_coordinates_written_out.
using EqualityEvidence = std::variant<AttentionElement<double>, HeadClasses>;

/// B computes what A computes, up to the rounding of the two files.
struct Equivalent {
  EqualityEvidence evidence;
};

/// The witness separates A and B by more than rounding can.
struct Distinct {
  Witness witness;
};

/// Neither was shown; the reason says what is in the way.
struct Undecided {
  std::string reason;
};

using Verdict = std::variant<Identical, Equivalent, Distinct, Undecided>;

/// "identical", "equivalent", "distinct" or "undecided".
const char* name_of(const Verdict& verdict);

/// Head `head` of A against head `image` of B.
struct HeadComparison {
  Index head = 0;
  Index image = 0;
  CircuitComparison qk;
  CircuitComparison vo;

  double rounding_ratio() const;  ///< the larger of the two ratios
  double largest_ratio() const;   ///< the largest over both circuits, their rows and their columns
  double resolution() const;      ///< the worse of the two
  bool explained_by_rounding() const { return qk.explained_by_rounding() && vo.explained_by_rounding(); }
};

/// A verdict on two modules and the figures behind it.
struct Decision {
  Verdict verdict = Undecided{};
  std::vector<HeadComparison> heads;     ///< one to one; empty where the shapes differ
  std::vector<ClassComparison> classes;  ///< the reduced forms; empty where all heads agree one to one
  ConstantComparison constant;
  Index worst_head = 0;  ///< the head of A with the largest ratio, among those that agree with no other way
  std::optional<double>
      gauge_condition;                 ///< largest condition number of the gauges, where b_from_a was found
  std::optional<double> output_bound;  ///< N8, a proved upper bound, where the input radius is known
  std::optional<Index> turn_alike_up_to;  ///< tokens, where rotary positions differ in longer sequences only

  double rounding_ratio() const;  ///< of the worst head, or of the worst class where there are no heads
  double largest_ratio() const;   ///< likewise, rows and columns of circuits included
  double resolution() const;      ///< likewise
  bool heads_agree() const;       ///< whether rounding explains every head, one to one
  bool classes_agree() const;     ///< whether there are classes and rounding explains every one
};

/// The verdict on a module and itself.
Decision decide_same(const AttentionConfig& config);

/// In words, what differs most and by which ratio: a head, a class of heads, or the constant output where
/// rounding explains all heads.
std::string describe_difference(const Decision& decision);

/// "heads 0 2 of A and head 1 of B"
std::string describe(const HeadClass& heads);

/// Three significant digits, for messages: "0.735", "1.2e-07".
std::string brief(double value);

}  // namespace attnsym
