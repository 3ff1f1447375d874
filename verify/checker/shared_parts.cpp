#include "verify/checker/shared_parts.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "symmetry/safe_norm.hpp"

namespace attnsym {
namespace {

StoredMatrix gain_of(const StoredNorm& norm) { return {norm.value.gain, norm.radius.gain}; }
StoredMatrix bias_of(const StoredNorm& norm) { return {norm.value.bias, norm.radius.bias}; }

// Without errors but those of arithmetic in double: centring adds up entries in another order where these
// have changed places.
StoredMatrix exact(StoredMatrix matrix) {
  if (matrix.value.size() == 0) return matrix;
  const double typical = safe_norm(matrix.value) / std::sqrt(static_cast<double>(matrix.value.size()));
  matrix.radius = 0x1p-52 * (matrix.value.cwiseAbs().array() + typical).matrix();
  return matrix;
}

constexpr bool is_outside(NormPlace place) {
  return place == NormPlace::Embedding || place == NormPlace::Final;
}

// Gains lose the signs of the stream's transport, biases keep them.
std::optional<EntryComparison> compared(const StoredNorm& a, const StoredNorm& b,
                                        const StreamTransport& stream, const EntryRules& rules) {
  const bool same_shape =
      a.value.gain.size() == b.value.gain.size() && a.value.bias.size() == b.value.bias.size();
  if (a.value.gain.size() == 0 || !same_shape) return std::nullopt;
  const EntryComparison both = worse(compare_entries(stream.placed(gain_of(a)), gain_of(b), rules),
                                     compare_entries(stream.written(bias_of(a)), bias_of(b), rules));
  return both.agrees() ? std::optional(both) : std::nullopt;
}

std::optional<EntryComparison> compared(const StoredModel& a, const StoredModel& b, Table table,
                                        const StreamTransport& stream, const EntryRules& rules) {
  const Index count = row_count(a.config(), table);
  if (count == 0 || count != row_count(b.config(), table)) return std::nullopt;
  constexpr Index at_once = 256;
  EntrySums sums(rules);
  for (Index first = 0; first < count; first += at_once) {
    const Index rows = std::min(at_once, count - first);
    sums.add(stream.written(a.rows(table, first, rows)), b.rows(table, first, rows));
  }
  const EntryComparison result = sums.result();
  return result.agrees() ? std::optional(result) : std::nullopt;
}

}  // namespace

// One of the models, with A's shared parts in its own basis.
class SharedParts::OneOf : public StoredModel {
 public:
  // @param stream  carries A's parts to this model; nullptr for A itself
  OneOf(const SharedParts& shared, const StoredModel& model, const StoredModel& a,
        const StreamTransport* stream)
      : shared_(shared), model_(model), a_(a), stream_(stream) {}

  const TransformerConfig& config() const override { return model_.config(); }

  StoredMatrix rows(Table table, Index first, Index count) const override {
    if (!shared_.shares(table)) return model_.rows(table, first, count);
    StoredMatrix rows = a_.rows(table, first, count);
    return exact(stream_ != nullptr ? stream_->written(std::move(rows)) : std::move(rows));
  }

  StoredNorm norm(NormPlace place, Index layer) const override {
    if (!shared_.shares(place, is_outside(place) ? 0 : layer)) return model_.norm(place, layer);
    const StoredNorm norm = a_.norm(place, layer);
    const StoredMatrix gain = exact(stream_ != nullptr ? stream_->placed(gain_of(norm)) : gain_of(norm));
    const StoredMatrix bias = exact(stream_ != nullptr ? stream_->written(bias_of(norm)) : bias_of(norm));
    StoredNorm result;
    result.value = {gain.value, bias.value};
    result.radius = {gain.radius, bias.radius};
    return result;
  }

  StoredAttention attention(Index layer) const override { return model_.attention(layer); }
  std::unique_ptr<NeuronReader> neurons(Index layer) const override { return model_.neurons(layer); }
  StoredMatrix mlp_bias(Index layer) const override { return model_.mlp_bias(layer); }
  StoredMatrix head_bias() const override { return model_.head_bias(); }
  StoredTransform head_transform() const override { return model_.head_transform(); }
  StoredTask task(std::size_t index) const override { return model_.task(index); }

 private:
  const SharedParts& shared_;
  const StoredModel& model_;
  const StoredModel& a_;
  const StreamTransport* stream_;
};

SharedParts::SharedParts(const StoredModel& a, const StoredModel& b, const StreamTransport& stream,
                         double surprise)
    : norms_(static_cast<std::size_t>(std::max<Index>(a.config().blocks(), 1))) {
  // A rotation mixes gains, and nothing can be shared.
  if (stream.kind() != StreamTransport::Kind::Orthogonal) {
    EntryRules rules;
    rules.surprise = surprise;
    for (std::size_t layer = 0; layer < norms_.size(); ++layer) {
      for (std::size_t i = 0; i < norm_places; ++i) {
        const auto place = static_cast<NormPlace>(i);
        if (is_outside(place) && layer > 0) continue;
        const auto index = static_cast<Index>(layer);
        norms_[layer][i] = compared(a.norm(place, index), b.norm(place, index), stream, rules);
      }
    }
    for (const Table table : {Table::Positions, Table::TokenTypes})
      tables_[static_cast<std::size_t>(table)] = compared(a, b, table, stream, rules);
  }
  a_ = std::make_unique<OneOf>(*this, a, a, nullptr);
  b_ = std::make_unique<OneOf>(*this, b, a, &stream);
}

EntryComparison SharedParts::norms_of_block(Index layer) const {
  EntryComparison all;
  for (std::size_t i = 0; i < norm_places; ++i) {
    const auto place = static_cast<NormPlace>(i);
    if (!is_outside(place) && shares(place, layer)) all = worse(all, *norm(place, layer));
  }
  return all;
}

EntryComparison SharedParts::norm_outside(NormPlace place) const {
  return shares(place, 0) ? *norm(place, 0) : EntryComparison{};
}

}  // namespace attnsym
