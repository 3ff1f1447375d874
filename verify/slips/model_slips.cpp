#include "verify/slips/model_slips.hpp"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <utility>

namespace attnsym {
namespace {

// A model that is another one but for what a slip concerns.
class ChangedModel : public StoredModel {
 public:
  ChangedModel(const StoredModel& model, TransformerConfig config)
      : model_(model), config_(std::move(config)) {}

  const TransformerConfig& config() const override { return config_; }
  StoredMatrix rows(Table table, Index first, Index count) const override {
    return model_.rows(table, first, count);
  }
  StoredNorm norm(NormPlace place, Index layer) const override { return model_.norm(place, layer); }
  StoredAttention attention(Index layer) const override { return model_.attention(layer); }
  std::unique_ptr<NeuronReader> neurons(Index layer) const override { return model_.neurons(layer); }
  StoredMatrix mlp_bias(Index layer) const override { return model_.mlp_bias(layer); }
  StoredMatrix head_bias() const override { return model_.head_bias(); }
  StoredTransform head_transform() const override { return model_.head_transform(); }
  StoredTask task(std::size_t index) const override { return model_.task(index); }

 protected:
  const StoredModel& model() const { return model_; }

 private:
  const StoredModel& model_;
  TransformerConfig config_;
};

using Mended = std::unique_ptr<StoredModel>;

// A field of the configuration that B has otherwise than A, which A's would mend.
template <class Field>
ModelSlip other_setting(const char* text, Field field) {
  return {text, [field](const StoredModel& b, const StoredModel& a) -> Mended {
            if (field(b.config()) == field(a.config())) return nullptr;
            TransformerConfig config = b.config();
            TransformerConfig reference = a.config();
            field(config) = field(reference);
            return std::make_unique<ChangedModel>(b, std::move(config));
          }};
}

class OffsetGains : public ChangedModel {
 public:
  OffsetGains(const StoredModel& model, double offset)
      : ChangedModel(model, model.config()), offset_(offset) {}

  StoredNorm norm(NormPlace place, Index layer) const override {
    StoredNorm norm = model().norm(place, layer);
    norm.value.gain.array() += offset_;
    return norm;
  }

 private:
  double offset_;
};

ModelSlip gains_off_by(double missing, const char* text) {
  return {text, [missing](const StoredModel& b, const StoredModel&) -> Mended {
            return std::make_unique<OffsetGains>(b, missing);
          }};
}

class ExchangedNorms : public ChangedModel {
 public:
  ExchangedNorms(const StoredModel& model, NormPlace one, NormPlace other)
      : ChangedModel(model, model.config()), one_(one), other_(other) {}

  StoredNorm norm(NormPlace place, Index layer) const override {
    if (place == one_) return model().norm(other_, layer);
    return model().norm(place == other_ ? one_ : place, layer);
  }

 private:
  NormPlace one_;
  NormPlace other_;
};

ModelSlip exchanged_norms(NormPlace one, NormPlace other, const char* text) {
  return {text, [one, other](const StoredModel& b, const StoredModel&) -> Mended {
            if (b.config().blocks() == 0) return nullptr;
            const auto has = [&](NormPlace place) { return b.norm(place, 0).value.gain.size() > 0; };
            if (!has(one) || !has(other)) return nullptr;
            return std::make_unique<ExchangedNorms>(b, one, other);
          }};
}

class ExchangedParts : public NeuronReader {
 public:
  explicit ExchangedParts(std::unique_ptr<NeuronReader> neurons) : neurons_(std::move(neurons)) {}

  Index count() const override { return neurons_->count(); }

  StoredNeurons read(std::span<const Index> which) const override {
    StoredNeurons neurons = neurons_->read(which);
    std::swap(neurons.gate, neurons.up);
    return neurons;
  }

 private:
  std::unique_ptr<NeuronReader> neurons_;
};

class ExchangedGates : public ChangedModel {
 public:
  explicit ExchangedGates(const StoredModel& model) : ChangedModel(model, model.config()) {}

  std::unique_ptr<NeuronReader> neurons(Index layer) const override {
    return std::make_unique<ExchangedParts>(model().neurons(layer));
  }
};

ModelSlip exchanged_gates() {
  return {"gate and up projections of MLPs are exchanged",
          [](const StoredModel& b, const StoredModel&) -> Mended {
            if (!b.config().mlp.gated) return nullptr;
            return std::make_unique<ExchangedGates>(b);
          }};
}

// A model with the unembedding of another, or with its own embeddings for one.
class OtherHead : public ChangedModel {
 public:
  OtherHead(const StoredModel& model, TransformerConfig config, const StoredModel& head, Table table)
      : ChangedModel(model, std::move(config)), head_(head), table_(table) {}

  StoredMatrix rows(Table table, Index first, Index count) const override {
    return table == Table::Unembedding ? head_.rows(table_, first, count) : model().rows(table, first, count);
  }

 private:
  const StoredModel& head_;
  Table table_;
};

// Where B has the kind of head `wrong` and A has `right`.
ModelSlip other_head(Head wrong, Head right, const char* text) {
  return {text, [wrong, right](const StoredModel& b, const StoredModel& a) -> Mended {
            if (b.config().head != wrong || a.config().head != right) return nullptr;
            TransformerConfig config = b.config();
            config.head = right;
            return right == Head::Tied
                       ? std::make_unique<OtherHead>(b, std::move(config), b, Table::Embedding)
                       : std::make_unique<OtherHead>(b, std::move(config), a, Table::Unembedding);
          }};
}

std::vector<ModelSlip> make_setting_slips() {
  return {
      other_setting(
          "another activation is configured", [](auto& c) -> auto& { return c.mlp.activation; }),
      other_setting(
          "another epsilon of norms is configured", [](auto& c) -> auto& { return c.norm_epsilon; }),
      other_setting(
          "another cap of logits is configured", [](auto& c) -> auto& { return c.logit_softcap; }),
  };
}

std::vector<ModelSlip> make_model_slips() {
  return {
      other_setting(
          "embeddings are multiplied by something else", [](auto& c) -> auto& { return c.embedding_scale; }),
      gains_off_by(1, "gains of norms are stored less one and read as they are"),
      gains_off_by(-1, "gains of norms are stored as they are and read as less one"),
      other_head(Head::Tied, Head::Own, "the unembedding was lost: the embedding stands in for it"),
      other_head(Head::Own, Head::Tied, "the unembedding is not the embedding, which it is in A"),
      exchanged_gates(),
      exchanged_norms(NormPlace::AttentionInput, NormPlace::MlpInput,
                      "the norms in front of attention and of MLPs are exchanged"),
      exchanged_norms(NormPlace::AttentionOutput, NormPlace::MlpInput,
                      "the norms behind attention and in front of MLPs are exchanged"),
      exchanged_norms(NormPlace::AttentionOutput, NormPlace::MlpOutput,
                      "the norms behind attention and behind MLPs are exchanged"),
  };
}

// Undoes slips one after the other.
class Attempt {
 public:
  Attempt(const StoredModel& a, const StoredModel& b, const ModelDecideOptions& options)
      : a_(a), b_(b), options_(options) {}

  // @returns false if the slip cannot have been made
  bool undo(const ModelSlip& slip) {
    Mended next = slip.undone(mended_.last(b_), a_);
    if (!next) return false;
    mended_.models.push_back(std::move(next));
    mended_.slips.push_back(slip.text);
    return true;
  }

  // Settings that do not differ are none.
  void undo_settings() {
    for (const ModelSlip& slip : known_setting_slips()) undo(slip);
  }

  // Nothing but the tables has to be looked at where these have nothing in common.
  bool is_hopeless() const { return have_unlike_tables(a_, mended_.last(b_)); }

  const ModelDecision& compare() { return mended_.decision = compare_models(a_, mended_.last(b_), options_); }

  // @param unmended  what is known if nothing was undone
  const ModelDecision& compare(const ModelDecision& unmended) {
    return mended_.models.empty() ? mended_.decision = unmended : compare();
  }

  MendedModel take() { return std::move(mended_); }

 private:
  const StoredModel& a_;
  const StoredModel& b_;
  const ModelDecideOptions& options_;
  MendedModel mended_;
};

// Without the settings and these slips, if they can have been made and explain what differs outside of
// attention.
std::optional<MendedModel> mended_by(const StoredModel& a, const StoredModel& b,
                                     const ModelDecideOptions& options,
                                     std::initializer_list<const ModelSlip*> slips) {
  Attempt attempt(a, b, options);
  attempt.undo_settings();
  for (const ModelSlip* slip : slips) {
    if (!attempt.undo(*slip)) return std::nullopt;
  }
  if (attempt.is_hopeless() || !agrees_outside_attention(attempt.compare())) return std::nullopt;
  return attempt.take();
}

}  // namespace

const std::vector<ModelSlip>& known_setting_slips() {
  static const std::vector<ModelSlip> all = make_setting_slips();
  return all;
}

const std::vector<ModelSlip>& known_model_slips() {
  static const std::vector<ModelSlip> all = make_model_slips();
  return all;
}

bool agrees_outside_attention(const ModelDecision& decision) {
  return !decision.different_architecture &&
         std::ranges::all_of(decision.outer, [](const OuterComparison& o) { return o.entries.agrees(); }) &&
         std::ranges::all_of(decision.blocks, [](const BlockDecision& block) {
           return block.mlp.agrees() && block.norms.agrees();
         });
}

MendedModel mend(const StoredModel& a, const StoredModel& b, ModelDecision decision,
                 const ModelDecideOptions& options) {
  MendedModel unmended{{}, {}, std::move(decision)};
  if (agrees_outside_attention(unmended.decision)) return unmended;
  Attempt with_settings(a, b, options);
  with_settings.undo_settings();
  const ModelDecision& best = with_settings.compare(unmended.decision);
  if (best.different_architecture) return unmended;
  if (agrees_outside_attention(best)) return with_settings.take();
  const std::vector<ModelSlip>& all = known_model_slips();
  for (const ModelSlip& slip : all) {
    if (auto mended = mended_by(a, b, options, {&slip})) return *std::move(mended);
  }
  for (std::size_t first = 0; first < all.size(); ++first) {
    for (std::size_t second = first + 1; second < all.size(); ++second) {
      if (auto mended = mended_by(a, b, options, {&all[first], &all[second]})) return *std::move(mended);
    }
  }
  return with_settings.take();
}

}  // namespace attnsym
