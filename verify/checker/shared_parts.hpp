#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "symmetry/stored_model.hpp"
#include "verify/checker/entries.hpp"
#include "verify/models/stream_transport.hpp"

namespace attnsym {

/// Two models side by side, in which small parts that agree by themselves are one part without errors. Norms,
/// the table of positions and that of token types are added to or multiplied into larger ones, whose errors
/// would then be those of all rows alike. Where B has A's norm, its places changed by the stream's transport
/// and its numbers within rounding, there is one exact norm that rounds to both, and the rest is judged with
/// that [N12]. Refers to all that it is made from.
class SharedParts {
 public:
  SharedParts(const StoredModel& a, const StoredModel& b, const StreamTransport& stream, double surprise);

  /// The models with the parts that they share.
  const StoredModel& a() const { return *a_; }
  const StoredModel& b() const { return *b_; }

  bool shares(NormPlace place, Index layer) const { return norm(place, layer).has_value(); }
  bool shares(Table table) const { return tables_[static_cast<std::size_t>(table)].has_value(); }

  /// How the shared norms of a block compare, or those outside of blocks.
  EntryComparison norms_of_block(Index layer) const;
  EntryComparison norm_outside(NormPlace place) const;

  /// How shared tables compare. @pre shares(table)
  const EntryComparison& table(Table table) const { return *tables_[static_cast<std::size_t>(table)]; }

 private:
  using Norms = std::array<std::optional<EntryComparison>, norm_places>;
  class OneOf;

  const std::optional<EntryComparison>& norm(NormPlace place, Index layer) const {
    return norms_[static_cast<std::size_t>(layer)][static_cast<std::size_t>(place)];
  }

  std::vector<Norms> norms_;  // by layer; those outside of blocks with layer 0
  std::array<std::optional<EntryComparison>, 4> tables_;
  std::unique_ptr<const StoredModel> a_;
  std::unique_ptr<const StoredModel> b_;
};

}  // namespace attnsym
