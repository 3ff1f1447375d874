#include "tools/layer_group.hpp"

#include <functional>
#include <numeric>
#include <sstream>

#include "nfn/row_major.hpp"
#include "symmetry/symmetry_group.hpp"
#include "tools/element_choices.hpp"
#include "tools/element_text.hpp"

namespace attnsym {
namespace {

// One part of a group: how it moves the identity, given choices.
template <class Element>
struct Generator {
  std::string name;
  std::function<void(ChoiceReader&, Element&)> set;
};

// What every group shares, once its elements and weights are known.
template <class Facts>
class GroupOf : public LayerGroup {
 public:
  using Element = typename Facts::Element;

  explicit GroupOf(Facts facts) : facts_(std::move(facts)), generators_(facts_.generators()) {}

  std::string describe() const override { return facts_.describe(); }
  bool has_channels() const override { return Facts::has_channels; }
  std::vector<TensorAxes> tensors(Index channels) const override { return facts_.tensors(channels); }

  std::vector<std::string> generators() const override {
    std::vector<std::string> names;
    for (const auto& generator : generators_) names.push_back(generator.name);
    return names;
  }

  std::size_t choices(std::size_t generator) const override {
    const Choices none;
    ChoiceReader reader(none);
    Element element = facts_.identity();
    generators_[generator].set(reader, element);
    return reader.taken();
  }

  TensorValues moved(std::size_t generator, const Choices& choices, const TensorValues& values,
                     Index channels) const override {
    return facts_.to_values(act(element(generator, choices), facts_.from_values(values, channels)));
  }

  std::string show(std::size_t generator, const Choices& choices) const override {
    return text_of(element(generator, choices));
  }

 private:
  Element element(std::size_t generator, const Choices& choices) const {
    ChoiceReader reader(choices);
    Element result = facts_.identity();
    generators_[generator].set(reader, result);
    return result;
  }

  Facts facts_;
  std::vector<Generator<Element>> generators_;
};

struct BlockFacts {
  using Element = BlockElement<double>;
  static constexpr bool has_channels = true;

  BlockShape shape;
  bool reorder_model = true;

  std::string describe() const {
    std::ostringstream text;
    text << "blocks " << (reorder_model ? "without" : "with") << " residual connection, " << shape;
    return text.str();
  }

  Element identity() const { return identity_element<double>(shape); }

  std::vector<Generator<Element>> generators() const {
    std::vector<Generator<Element>> result;
    const BlockShape s = shape;
    if (s.heads > 1)
      result.push_back(
          {"head permutation", [s](auto& next, auto& g) { g.first.top = chosen_order(next, s.heads); }});
    result.push_back({"QK gauge", [s](auto& next, auto& g) {
                        for (auto& gauges : g.first.local) gauges.first = chosen_linear(next, s.key_width);
                      }});
    result.push_back({"VO gauge", [s](auto& next, auto& g) {
                        for (auto& gauges : g.first.local) gauges.second = chosen_linear(next, s.value_width);
                      }});
    if (reorder_model && s.model_width > 1)
      result.push_back(
          {"P_D", [s](auto& next, auto& g) { g.second.first = chosen_order(next, s.model_width); }});
    if (s.hidden_width > 1)
      result.push_back(
          {"P_DA", [s](auto& next, auto& g) { g.second.second = chosen_order(next, s.hidden_width); }});
    return result;
  }

  std::vector<TensorAxes> tensors(Index channels) const {
    std::vector<TensorAxes> result;
    const auto features = WeightFeatures<double>::zero(shape, channels, 1);
    for_each_tensor(features, [&](const char* name, const auto&) {
      const std::vector<Index> axes = row_major_axes(shape, channels, 1, name);
      result.push_back({name, {axes.begin() + 1, axes.end()}});
    });
    return result;
  }

  WeightFeatures<double> from_values(const TensorValues& values, Index channels) const {
    auto features = WeightFeatures<double>::zero(shape, channels, 1);
    auto next = values.begin();
    for_each_tensor(features,
                    [&](const char* name, auto&) { from_row_major<double>(features, name, *next++); });
    return features;
  }

  static TensorValues to_values(const WeightFeatures<double>& features) {
    TensorValues values;
    for_each_tensor(features,
                    [&](const char* name, const auto&) { values.push_back(to_row_major(features, name)); });
    return values;
  }
};

// Calls visit(tensor number, slot, transposed) for every slot of a module in the order of tensors(): of one
// tensor, those of group after group and reader after reader.
template <class Weights, class Visit>
void for_each_slot_by_tensor(Weights& weights, Visit visit) {
  const auto readers = [&](auto use) {
    for (auto& group : weights.groups) {
      for (auto& reader : group.readers) use(reader);
    }
  };
  readers([&](auto& reader) { visit(0, reader.query); });
  for (auto& group : weights.groups) visit(1, group.key);
  for (auto& group : weights.groups) visit(2, group.value);
  readers([&](auto& reader) { visit(3, reader.output); });
  readers([&](auto& reader) { visit(4, reader.query_bias); });
  for (auto& group : weights.groups) visit(5, group.key_bias);
  for (auto& group : weights.groups) visit(6, group.value_bias);
  visit(7, weights.output_bias);
}

struct AttentionFacts {
  using Element = AttentionElement<double>;
  static constexpr bool has_channels = false;

  AttentionConfig config;

  std::string describe() const {
    std::ostringstream text;
    text << "attention modules, " << config;
    return text.str();
  }

  Element identity() const { return identity_element<double>(config); }

  std::vector<Generator<Element>> generators() const {
    using Move = GroupMove<double>;
    std::vector<Generator<Element>> result;
    const AttentionConfig c = config;
    const auto each = [](auto set) {
      return [set](ChoiceReader& next, Element& g) {
        for (Move& move : g.local) set(next, move);
      };
    };
    if (c.groups > 1)
      result.push_back(
          {"head permutation", [c](auto& next, auto& g) { g.top = chosen_order(next, c.groups); }});
    if (c.readers_per_group() > 1)
      result.push_back({"reader permutation", each([c](ChoiceReader& next, Move& move) {
                          move.first = chosen_order(next, c.readers_per_group());
                        })});
    result.push_back({"QK gauge", each([c](ChoiceReader& next, Move& move) {
                        move.second.first.linear = chosen_linear(next, c.key_width);
                      })});
    result.push_back({"VO gauge", each([c](ChoiceReader& next, Move& move) {
                        move.second.second.linear = chosen_linear(next, c.value_width);
                      })});
    if (c.key_bias)
      result.push_back({"key bias translation", each([c](ChoiceReader& next, Move& move) {
                          move.second.first.shift = chosen_row(next, c.key_width);
                        })});
    if (c.value_bias && c.output_bias)
      result.push_back({"value bias translation", each([c](ChoiceReader& next, Move& move) {
                          move.second.second.shift = chosen_row(next, c.value_width);
                        })});
    return result;
  }

  std::vector<TensorAxes> tensors(Index /*channels*/) const {
    const auto& c = config;
    std::vector<TensorAxes> result{{"query", {c.heads, c.model_width, c.key_width}},
                                   {"key", {c.groups, c.model_width, c.key_width}},
                                   {"value", {c.groups, c.model_width, c.value_width}},
                                   {"output", {c.heads, c.value_width, c.model_width}}};
    if (c.query_bias) result.push_back({"query_bias", {c.heads, c.key_width}});
    if (c.key_bias) result.push_back({"key_bias", {c.groups, c.key_width}});
    if (c.value_bias) result.push_back({"value_bias", {c.groups, c.value_width}});
    if (c.output_bias) result.push_back({"output_bias", {c.model_width}});
    return result;
  }

  // Biases that the config lacks are empty and have no values.
  AttentionWeights<double> from_values(const TensorValues& values, Index /*channels*/) const {
    AttentionWeights<double> weights = zero();
    std::vector<double> all;
    for (const auto& tensor : values) all.insert(all.end(), tensor.begin(), tensor.end());
    auto next = all.begin();
    for_each_slot_by_tensor(weights, [&](int, auto& slot) {
      for (Index i = 0; i < slot.rows(); ++i) {
        for (Index j = 0; j < slot.cols(); ++j) slot(i, j) = *next++;
      }
    });
    return weights;
  }

  static TensorValues to_values(const AttentionWeights<double>& weights) {
    TensorValues values(8);
    for_each_slot_by_tensor(weights, [&](int tensor, const auto& slot) {
      for (Index i = 0; i < slot.rows(); ++i) {
        for (Index j = 0; j < slot.cols(); ++j) values[tensor].push_back(slot(i, j));
      }
    });
    std::erase_if(values, [](const auto& tensor) { return tensor.empty(); });
    return values;
  }

  AttentionWeights<double> zero() const {
    const auto& c = config;
    const auto bias = [](bool present, Index size) {
      return RowVector<double>::Zero(present ? size : 0).eval();
    };
    const Matrix<double> key = Matrix<double>::Zero(c.model_width, c.key_width);
    const Matrix<double> value = Matrix<double>::Zero(c.model_width, c.value_width);
    const QueryHead<double> reader{key, value.transpose(), bias(c.query_bias, c.key_width)};
    const KvGroup<double> group{key, value, bias(c.key_bias, c.key_width), bias(c.value_bias, c.value_width),
                                std::vector<QueryHead<double>>(c.readers_per_group(), reader)};
    return {std::vector<KvGroup<double>>(c.groups, group), bias(c.output_bias, c.model_width)};
  }
};

}  // namespace

Index TensorAxes::size() const {
  return std::accumulate(axes.begin(), axes.end(), Index{1}, std::multiplies<>());
}

std::unique_ptr<LayerGroup> block_layer_group(const BlockShape& shape, bool reorder_model) {
  shape.validate();
  return std::make_unique<GroupOf<BlockFacts>>(BlockFacts{shape, reorder_model});
}

std::unique_ptr<LayerGroup> attention_layer_group(const AttentionConfig& config) {
  config.validate();
  return std::make_unique<GroupOf<AttentionFacts>>(AttentionFacts{config});
}

}  // namespace attnsym
