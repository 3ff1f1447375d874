#pragma once

#include <string>
#include <utility>
#include <vector>

#include "nfn/layer.hpp"
#include "nfn/parameters.hpp"

namespace attnsym {

/// Layers one after the other: a layer again.
template <class First, class... Rest>
class Sequential {
 public:
  using Input = typename First::Input;
  using Output = typename Sequential<Rest...>::Output;

  explicit Sequential(First first, Rest... rest)
      : Sequential(std::move(first), Sequential<Rest...>(std::move(rest)...)) {}
  Sequential(First first, Sequential<Rest...> rest) : first_(std::move(first)), rest_(std::move(rest)) {}

  /// The parameters of layer i carry the prefix "i.". Views live as long as the layers stay where they are.
  auto parameters(int number = 0) {
    auto views = Sequential<First>::numbered(first_, number);
    const auto more = rest_.parameters(number + 1);
    views.insert(views.end(), more.begin(), more.end());
    return views;
  }

  Output operator()(const Input& input) const { return rest_(first_(input)); }

  Gradients<Sequential> backward(const Input& input, const Output& cotangent) const {
    return differentiate(input, [&](const Output&) -> const Output& { return cotangent; });
  }

  /// As backward, with one forward pass: cotangent_of(output) tells the cotangent once the output is known.
  template <class CotangentOf>
  Gradients<Sequential> differentiate(const Input& input, const CotangentOf& cotangent_of) const {
    const auto between = first_(input);
    auto later = rest_.differentiate(between, cotangent_of);
    auto earlier = first_.backward(input, std::move(later.input));
    return {std::move(earlier.input), Sequential(std::move(earlier.parameters), std::move(later.parameters))};
  }

  /// The same, but adds the derivatives by the parameters to `sum` and returns that by the input.
  template <class CotangentOf>
  Input differentiate(const Input& input, const CotangentOf& cotangent_of, Sequential& sum) const {
    const auto between = first_(input);
    return attnsym::accumulate(first_, input, rest_.differentiate(between, cotangent_of, sum.rest_),
                               sum.first_);
  }

  Input accumulate(const Input& input, const Output& cotangent, Sequential& sum) const {
    return differentiate(
        input, [&](const Output&) -> const Output& { return cotangent; }, sum);
  }

 private:
  First first_;
  Sequential<Rest...> rest_;
};

template <class Last>
class Sequential<Last> {
 public:
  using Input = typename Last::Input;
  using Output = typename Last::Output;

  explicit Sequential(Last last) : last_(std::move(last)) {}

  auto parameters(int number = 0) { return numbered(last_, number); }

  Output operator()(const Input& input) const { return last_(input); }

  Gradients<Sequential> backward(const Input& input, const Output& cotangent) const {
    auto gradients = last_.backward(input, cotangent);
    return {std::move(gradients.input), Sequential(std::move(gradients.parameters))};
  }

  template <class CotangentOf>
  Gradients<Sequential> differentiate(const Input& input, const CotangentOf& cotangent_of) const {
    return backward(input, cotangent_of(last_(input)));
  }

  template <class CotangentOf>
  Input differentiate(const Input& input, const CotangentOf& cotangent_of, Sequential& sum) const {
    return accumulate(input, cotangent_of(last_(input)), sum);
  }

  Input accumulate(const Input& input, const Output& cotangent, Sequential& sum) const {
    return attnsym::accumulate(last_, input, cotangent, sum.last_);
  }

  /// The parameters of one layer under its number.
  static auto numbered(Last& layer, int number) {
    auto views = layer.parameters();
    for (auto& view : views) view.name = std::to_string(number) + "." + view.name;
    return views;
  }

 private:
  Last last_;
};

}  // namespace attnsym
