#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "tools/layer_trial.hpp"

namespace attnsym {

/// Makes a failing draw simpler where every round of tries costs one call of a command: many edits are tried
/// side by side, then those that each keep the failure are tried together, the first one, the first two, and
/// so on.
class DrawShrinker {
 public:
  /// @param tensors  what the weights of the draw are divided into.
  /// @param at_once  candidates in one round, at most.
  DrawShrinker(Draw failing, const std::vector<TensorAxes>& tensors, std::size_t at_once);

  /// Nothing simpler fails, as far as was tried.
  bool done() const { return kind_ == Kind::None; }

  /// Draws simpler than smallest(), to be tried. Not to be called when done.
  std::vector<Draw> candidates();

  /// Tells which of the candidates fail. @return the one that is smallest() from now on, if any
  std::optional<std::size_t> choose(const std::vector<bool>& failed);

  const Draw& smallest() const { return smallest_; }

 private:
  enum class Kind { Zero, Reduce, None };
  using Edit = std::vector<std::pair<std::size_t, int>>;  // places and what is put there

  int& at(Draw& draw, std::size_t place) const;
  void begin(Kind kind);
  void add_zeroing_edits();
  void add_reducing_edits();
  std::vector<std::size_t> nonzero_places();
  std::vector<Edit> combined(const std::vector<Edit>& edits) const;

  Draw smallest_;
  std::vector<std::size_t> tensor_ends_;
  std::size_t at_once_;
  Kind kind_ = Kind::Zero;
  std::vector<Edit> edits_;       // all of this kind
  std::size_t next_ = 0;          // of edits_, the first not yet tried
  std::vector<Edit> together_;    // those that keep the failure one by one
  std::vector<Edit> candidates_;  // of this round
};

}  // namespace attnsym
