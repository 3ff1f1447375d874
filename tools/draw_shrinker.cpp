#include "tools/draw_shrinker.hpp"

#include <algorithm>
#include <cstdlib>

namespace attnsym {

DrawShrinker::DrawShrinker(Draw failing, const std::vector<TensorAxes>& tensors, std::size_t at_once)
    : smallest_(std::move(failing)), at_once_(at_once) {
  std::size_t end = 0;
  for (const TensorAxes& tensor : tensors)
    tensor_ends_.push_back(end += static_cast<std::size_t>(tensor.size()));
  begin(Kind::Zero);
}

int& DrawShrinker::at(Draw& draw, std::size_t place) const {
  const std::size_t weights = draw.weights.size();
  return place < weights ? draw.weights[place] : draw.element[place - weights];
}

std::vector<std::size_t> DrawShrinker::nonzero_places() {
  std::vector<std::size_t> places;
  for (std::size_t place = 0; place < smallest_.weights.size() + smallest_.element.size(); ++place) {
    if (at(smallest_, place) != 0) places.push_back(place);
  }
  return places;
}

void DrawShrinker::begin(Kind kind) {
  kind_ = kind;
  edits_.clear();
  together_.clear();
  next_ = 0;
  if (kind == Kind::Zero) add_zeroing_edits();
  if (kind_ == Kind::Zero && edits_.empty()) kind_ = Kind::Reduce;
  if (kind_ == Kind::Reduce) add_reducing_edits();
  if (edits_.empty()) kind_ = Kind::None;
}

// All weights, every tensor, then runs of half of what is left, a quarter, ..., one.
void DrawShrinker::add_zeroing_edits() {
  const std::vector<std::size_t> places = nonzero_places();
  const auto add = [&](auto first, auto last) {
    Edit edit;
    for (; first != last; ++first) edit.emplace_back(*first, 0);
    if (!edit.empty()) edits_.push_back(std::move(edit));
  };
  const auto up_to = [&](std::size_t end) { return std::lower_bound(places.begin(), places.end(), end); };
  add(places.begin(), up_to(smallest_.weights.size()));
  std::size_t begin = 0;
  for (const std::size_t end : tensor_ends_) {
    add(up_to(begin), up_to(end));
    begin = end;
  }
  for (std::size_t run = places.size() / 2; run > 0; run /= 2) {
    for (std::size_t first = 0; first < places.size(); first += run) {
      const std::size_t last = std::min(first + run, places.size());
      add(places.begin() + static_cast<std::ptrdiff_t>(first),
          places.begin() + static_cast<std::ptrdiff_t>(last));
    }
  }
}

// Nearer to zero; the positive one of two signs.
void DrawShrinker::add_reducing_edits() {
  for (const std::size_t place : nonzero_places()) {
    const int value = at(smallest_, place);
    const int size = std::abs(value);
    for (const int target : {1, size / 2, size - 1, size}) {
      if (target > 0 && (target < size || value < 0)) edits_.push_back({{place, target}});
    }
    for (const int target : {size / 2, size - 1}) {
      if (target > 0 && value < 0) edits_.push_back({{place, -target}});
    }
  }
}

// The first edit, the first two together, ... Where two edits meet at one place, the earlier one counts.
std::vector<DrawShrinker::Edit> DrawShrinker::combined(const std::vector<Edit>& edits) const {
  std::vector<Edit> result;
  std::vector<bool> taken(smallest_.weights.size() + smallest_.element.size());
  Edit together;
  for (const Edit& edit : edits) {
    for (const auto& [place, value] : edit) {
      if (!taken[place]) together.emplace_back(place, value);
      taken[place] = true;
    }
    result.push_back(together);
  }
  return result;
}

std::vector<Draw> DrawShrinker::candidates() {
  if (!together_.empty()) {
    candidates_ = combined(together_);
  } else {
    const std::size_t last = std::min(next_ + at_once_, edits_.size());
    candidates_.assign(edits_.begin() + static_cast<std::ptrdiff_t>(next_),
                       edits_.begin() + static_cast<std::ptrdiff_t>(last));
    next_ = last;
  }
  std::vector<Draw> draws;
  for (const Edit& edit : candidates_) {
    Draw draw = smallest_;
    for (const auto& [place, value] : edit) at(draw, place) = value;
    draws.push_back(std::move(draw));
  }
  return draws;
}

std::optional<std::size_t> DrawShrinker::choose(const std::vector<bool>& failed) {
  std::vector<std::size_t> failing;
  for (std::size_t i = 0; i < failed.size(); ++i) {
    if (failed[i]) failing.push_back(i);
  }
  if (failing.empty()) {
    together_.clear();
    if (next_ == edits_.size()) begin(kind_ == Kind::Zero ? Kind::Reduce : Kind::None);
    return std::nullopt;
  }
  if (together_.empty() && failing.size() > 1) {
    for (const std::size_t i : failing) together_.push_back(candidates_[i]);
    return std::nullopt;
  }
  const std::size_t chosen = failing.back();
  for (const auto& [place, value] : candidates_[chosen]) at(smallest_, place) = value;
  begin(Kind::Zero);
  return chosen;
}

}  // namespace attnsym
