#include "nfn/initialization.hpp"

#include <algorithm>
#include <cmath>

#include "symmetry/errors.hpp"
#include "symmetry/permutation.hpp"

namespace attnsym {
namespace {

struct Fan {
  Index in;
  Index out;
};

struct Term {
  const char* name;
  Fan fan;
};

struct Group {
  int degree;  // s
  std::vector<Term> terms;
};

// The fans of every way in which a layer from d channels reads a block.
struct Fans {
  Fans(const BlockShape& s, Index d)
      : product{d * s.heads * s.model_width * s.model_width, 1},
        product_column{d * s.heads * s.model_width, s.model_width},
        query{d * s.key_width, s.heads * s.model_width},
        value{d * s.value_width, s.heads * s.model_width},
        output_row{d * s.model_width, s.heads * s.value_width},
        output_entry{d, s.heads * s.value_width * s.model_width},
        matrix{d * s.model_width * s.hidden_width, 1},
        up_row{d * s.hidden_width, s.model_width},
        unit{d * s.model_width, s.hidden_width},
        up_entry{d, s.model_width * s.hidden_width},
        up_bias{d * s.hidden_width, 1},
        up_bias_entry{d, s.hidden_width},
        down_bias{d * s.model_width, 1} {}

  Fan product;         // all of Q K^T or V O
  Fan product_column;  // a column of V O
  Fan query;
  Fan value;
  Fan output_row;
  Fan output_entry;
  Fan matrix;  // all of A or B
  Fan up_row;
  Fan unit;  // a column of A or a row of B: what belongs to a hidden unit
  Fan up_entry;
  Fan up_bias;  // all of bA
  Fan up_bias_entry;
  Fan down_bias;
};

std::vector<Group> equivariant_groups(const BlockShape& shape, Index d, Index e) {
  const Fans fans(shape, d);
  const Fan channel{0, e};
  const Fan coordinate{0, e * shape.model_width};
  return {
      {1, {{"PhiQ", fans.query}}},
      {1, {{"PhiK", fans.query}}},
      {1, {{"PhiV", fans.value}}},
      {1, {{"O1", fans.output_row}, {"O2", fans.output_entry}}},
      {1, {{"A11", fans.up_bias_entry}, {"A12", fans.down_bias}, {"A13", channel}}},
      {2, {{"A1", fans.product}, {"A2", fans.product}, {"A3", fans.product_column}}},
      {2,
       {{"A4", fans.matrix},
        {"A5", fans.up_row},
        {"A6", fans.unit},
        {"A7", fans.up_entry},
        {"A8", fans.matrix},
        {"A9", fans.unit},
        {"A10", fans.up_bias}}},
      {1, {{"a8", fans.up_bias_entry}, {"a9", fans.down_bias}, {"a10", channel}}},
      {2, {{"a1", fans.product}, {"a2", fans.product}}},
      {2,
       {{"a3", fans.matrix},
        {"a4", fans.unit},
        {"a5", fans.matrix},
        {"a6", fans.unit},
        {"a7", fans.up_bias}}},
      {1, {{"B8", fans.up_bias_entry}, {"B9", fans.down_bias}, {"B10", coordinate}}},
      {2, {{"B1", fans.product}, {"B2", fans.product}}},
      {2,
       {{"B3", fans.matrix},
        {"B4", fans.unit},
        {"B5", fans.matrix},
        {"B6", fans.unit},
        {"B7", fans.up_bias}}},
      {1, {{"c6", fans.down_bias}, {"c7", coordinate}}},
      {2, {{"c1", fans.product}, {"c2", fans.product}}},
      {2, {{"c3", fans.matrix}, {"c4", fans.matrix}, {"c5", fans.up_bias}}},
  };
}

std::vector<Group> invariant_groups(const BlockShape& shape, Index d, Index e) {
  const Fans fans(shape, d);
  return {
      {2, {{"F1", fans.product}, {"F2", fans.product}}},
      {2, {{"F3", fans.matrix}, {"F4", fans.matrix}}},
      {1, {{"F5", fans.up_bias}, {"F6", fans.down_bias}, {"F7", {0, e}}}},
  };
}

double deviation(const Group& group) {
  Index fans = 0;
  for (const Term& term : group.terms) fans += term.fan.in + term.fan.out;
  return std::pow(2 / static_cast<double>(fans), group.degree / 2.0);
}

template <class S>
void draw(const ParameterView<S>& view, double deviation, Random& random) {
  for (Index i = 0; i < view.size(); ++i) view(i) = S(deviation * random.normal());
}

template <class S>
void draw(const std::vector<ParameterView<S>>& parameters, const std::vector<Group>& groups, Random& random) {
  std::size_t named = 0;
  for (const Group& group : groups) named += group.terms.size();
  require_same_size("the parameters that have an initialisation and all", named, parameters.size());
  for (const Group& group : groups) {
    for (const Term& term : group.terms) {
      const auto view = std::ranges::find(parameters, term.name, &ParameterView<S>::name);
      if (view == parameters.end()) throw ShapeError(std::string("the layer has no parameter ") + term.name);
      draw(*view, deviation(group), random);
    }
  }
}

}  // namespace

template <RealScalar S>
void initialize(EquivariantLinear<S>& layer, const BlockShape& shape, Random& random) {
  require_same_size("the width of a layer and of the model", layer.model_width(), shape.model_width);
  draw(layer.parameters(), equivariant_groups(shape, layer.in_channels(), layer.out_channels()), random);
}

template <RealScalar S>
void initialize(InvariantLayer<S>& layer, const BlockShape& shape, Random& random) {
  require_same_size("the width of a layer and of the model", layer.model_width(), shape.model_width);
  draw(layer.parameters(), invariant_groups(shape, layer.in_channels(), layer.outputs()), random);
}

template <RealScalar S>
void initialize(HeadInvariantLayer<S>& layer, const BlockShape& shape, Random& random) {
  require_same_size("the width of a layer and of the model", layer.model_width(), shape.model_width);
  const double per_head = 1 / std::sqrt(static_cast<double>(layer.head_inputs()));
  const double summed = 1 / std::sqrt(static_cast<double>(layer.features() * shape.heads + 1));
  for (const auto& view : layer.parameters()) draw(view, view.name[0] == 'H' ? per_head : summed, random);
}

template <RealScalar S>
void initialize(BlockInvariant<S>& layer, const BlockShape& shape, Random& random) {
  initialize(layer.sums(), shape, random);
  if (layer.heads()) initialize(*layer.heads(), shape, random);
}

template <RealScalar S>
void initialize(Dense<S>& layer, Random& random) {
  const double bound = 1 / std::sqrt(static_cast<double>(layer.inputs()));
  for (const auto& view : layer.parameters()) {
    for (Index i = 0; i < view.size(); ++i) view(i) = S(bound * random.uniform());
  }
}

template void initialize(EquivariantLinear<float>&, const BlockShape&, Random&);
template void initialize(EquivariantLinear<double>&, const BlockShape&, Random&);
template void initialize(EquivariantLinear<Float50>&, const BlockShape&, Random&);
template void initialize(InvariantLayer<float>&, const BlockShape&, Random&);
template void initialize(InvariantLayer<double>&, const BlockShape&, Random&);
template void initialize(InvariantLayer<Float50>&, const BlockShape&, Random&);
template void initialize(HeadInvariantLayer<float>&, const BlockShape&, Random&);
template void initialize(HeadInvariantLayer<double>&, const BlockShape&, Random&);
template void initialize(HeadInvariantLayer<Float50>&, const BlockShape&, Random&);
template void initialize(BlockInvariant<float>&, const BlockShape&, Random&);
template void initialize(BlockInvariant<double>&, const BlockShape&, Random&);
template void initialize(BlockInvariant<Float50>&, const BlockShape&, Random&);
template void initialize(Dense<float>&, Random&);
template void initialize(Dense<double>&, Random&);
template void initialize(Dense<Float50>&, Random&);

}  // namespace attnsym
