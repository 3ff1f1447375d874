#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "symmetry/attention_symmetry.hpp"
#include "verify/rounding.hpp"

namespace attnsym {

/// An input on which two modules part.
struct Witness {
  Matrix<double> input;     ///< n x D, n >= 3
  Matrix<double> output_a;  ///< n x D
  Matrix<double> output_b;  ///< n x D
  double gap = 0;           ///< |output_a - output_b|, Frobenius
  double noise = 0;         ///< the largest gap that rounding the weights produced in several draws
};

/// B is A moved by an exact gauge: permutations, signs and powers of two, every stored number equal.
struct Identical {
  AttentionElement<double> b_from_a;
};

/// B computes what A computes, up to the rounding of the two files; b_from_a is the change of basis.
struct Equivalent {
  AttentionElement<double> b_from_a;
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

/// A verdict on two modules and the figures behind it. `heads` is empty where the shapes differ.
struct Decision {
  Verdict verdict = Undecided{};
  std::vector<HeadComparison> heads;
  ConstantComparison constant;
  Index worst_head = 0;  ///< the head of A with the largest ratio
  std::optional<double>
      gauge_condition;                 ///< largest condition number of the gauges, where b_from_a was found
  std::optional<double> output_bound;  ///< N8, where the input radius is known

  double rounding_ratio() const;  ///< of the worst head
  double resolution() const;      ///< of the worst head
  bool heads_agree() const;       ///< whether rounding explains every head
};

/// In words, what differs most and by which ratio: a head, or the constant output where rounding explains all
/// heads.
std::string describe_difference(const Decision& decision);

/// Three significant digits, for messages: "0.735", "1.2e-07".
std::string brief(double value);

}  // namespace attnsym
