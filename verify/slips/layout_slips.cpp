#include <algorithm>

#include "verify/slips/slip.hpp"

namespace attnsym {
namespace {

using enum Projection;

using Order = std::vector<Index>;  // entry k: which old column becomes new column k

// What of a projection is moved.
enum class Rows { All, Weights, Bias };

// Moves the columns of some projections; an order is made for the number of columns.
template <class MakeOrder>
StoredAttention reordered(const StoredAttention& module, const std::vector<Projection>& which,
                          MakeOrder order_for, Rows rows = Rows::All) {
  const Index d = module.config.model_width;
  return moved(module, [&](Projections& projections) {
    for (const Projection one : which) {
      Matrix<double>& columns = projections.at(one);
      const Matrix<double> right = columns(Eigen::all, order_for(columns.cols()));
      if (rows != Rows::Bias) columns.topRows(d) = right.topRows(d);
      if (rows != Rows::Weights)
        columns.bottomRows(columns.rows() - d) = right.bottomRows(columns.rows() - d);
    }
  });
}

// In every block of `width` columns the first 2 `pairs`, which are pairs side by side, become first and
// second coordinates, or the other way round.
Order pair_order(Index columns, Index width, Index pairs, bool to_halves) {
  Order order;
  for (Index column = 0; column < columns; ++column) {
    const Index k = column % width;
    Index from = k;
    if (k < 2 * pairs) {
      from = to_halves ? 2 * (k % pairs) + k / pairs : (k % 2) * pairs + k / 2;
    }
    order.push_back(column - k + from);
  }
  return order;
}

Slip pairs_in_other_order(std::vector<Projection> which, bool to_halves, Rows rows = Rows::All) {
  Slip slip;
  slip.text = std::string(rows == Rows::Bias ? "in the biases " : "") +
              (to_halves ? "rotary pairs are interleaved where half-split pairs are expected"
                         : "rotary pairs are half-split where interleaved pairs are expected");
  if (rows == Rows::Weights) slip.text += ", but not in the biases";
  slip.projections = which;
  slip.undone = [which, to_halves, rows](const StoredAttention& module,
                                         const StoredAttention&) -> std::optional<StoredAttention> {
    const Index pairs = module.config.rotary.pairs();
    if (pairs < 2) return std::nullopt;
    const auto order = [&](Index columns) {
      return pair_order(columns, module.config.key_width, pairs, to_halves);
    };
    return reordered(module, which, order, rows);
  };
  return slip;
}

// The conversion between both orders of pairs, made as if there were as many key heads as query heads.
Slip keys_ordered_as_queries(bool to_halves) {
  Slip slip;
  slip.text = std::string("rotary pairs were put into ") + (to_halves ? "half-split" : "interleaved") +
              " order as if there were as many key heads as query heads";
  slip.projections = {Key};
  slip.undone = [to_halves](const StoredAttention& module,
                            const StoredAttention&) -> std::optional<StoredAttention> {
    const AttentionConfig& c = module.config;
    const Index width = c.key_width / c.readers_per_group();
    const bool whole = 2 * c.rotary.pairs() == c.key_width && c.key_width % (2 * c.readers_per_group()) == 0;
    if (c.readers_per_group() == 1 || !whole) return std::nullopt;
    const StoredAttention back = reordered(
        module, {Key}, [&](Index columns) { return pair_order(columns, width, width / 2, !to_halves); });
    return reordered(back, {Key}, [&](Index columns) {
      return pair_order(columns, c.key_width, c.rotary.pairs(), to_halves);
    });
  };
  return slip;
}

// Query heads, and what reads them out, stored for a map i mod g of heads to groups and read with i / r; or
// stored for i / r, and dealt out with i mod g.
Slip other_group_map(bool stored_in_turn) {
  Slip slip;
  slip.text = stored_in_turn ? "head i belongs to key/value group i mod g where i / r is expected"
                             : "head i was given to key/value group i mod g where it belongs to i / r";
  slip.projections = {Query, Output};
  slip.undone = [stored_in_turn](const StoredAttention& module,
                                 const StoredAttention&) -> std::optional<StoredAttention> {
    const AttentionConfig& c = module.config;
    const Index r = c.readers_per_group();
    if (r == 1 || c.groups == 1) return std::nullopt;
    return reordered(module, {Query, Output}, [&](Index columns) {
      const Index width = columns / c.heads;
      Order order;
      for (Index head = 0; head < c.heads; ++head) {
        const Index from =
            stored_in_turn ? head % r * c.groups + head / r : head % c.groups * r + head / c.groups;
        for (Index k = 0; k < width; ++k) order.push_back(width * from + k);
      }
      return order;
    });
  };
  return slip;
}

// How queries, keys and values share one tensor.
enum class Fused { Blocks, PerGroup, PerRow };

const char* name_of(Fused fused) {
  switch (fused) {
    case Fused::Blocks:
      return "all queries, all keys, all values";
    case Fused::PerGroup:
      return "queries, key and value of each group";
    case Fused::PerRow:
      break;
  }
  return "query, key and value row by row";
}

// Entry k: which column of [Q K V] is column k of the fused tensor.
Order fused_order(Fused fused, const AttentionConfig& c) {
  const Index width = c.key_width;
  const Index r = c.readers_per_group();
  const Index keys = c.heads * width;
  const Index values = keys + c.groups * width;
  Order order;
  const auto add = [&](Index first, Index count) {
    for (Index k = 0; k < count; ++k) order.push_back(first + k);
  };
  for (Index j = 0; j < c.groups; ++j) {
    if (fused == Fused::PerRow) {
      for (Index k = 0; k < width; ++k)
        for (const Index block : {Index{0}, keys, values}) order.push_back(block + width * j + k);
    } else {
      add(width * r * j, width * r);
      add(keys + width * j, width);
      add(values + width * j, width);
    }
  }
  if (fused == Fused::Blocks) {
    order.clear();
    add(0, values + c.groups * width);
  }
  return order;
}

Slip fused_in_other_order(Fused stored, Fused read) {
  Slip slip;
  slip.text = std::string("the fused tensor is in the order ") + name_of(stored) + "; " + name_of(read) +
              " is expected";
  slip.projections = {Query, Key, Value};
  slip.undone = [stored, read](const StoredAttention& module,
                               const StoredAttention&) -> std::optional<StoredAttention> {
    const AttentionConfig& c = module.config;
    const bool row_by_row = stored == Fused::PerRow || read == Fused::PerRow;
    if (c.key_width != c.value_width || (row_by_row && c.groups != c.heads)) return std::nullopt;
    const Order from = fused_order(read, c);
    const Order to = fused_order(stored, c);
    return moved(module, [&](Projections& p) {
      Matrix<double> all(p.query.rows(), p.query.cols() + p.key.cols() + p.value.cols());
      all << p.query, p.key, p.value;
      Matrix<double> right(all.rows(), all.cols());
      for (std::size_t k = 0; k < to.size(); ++k) right.col(to[k]) = all.col(from[k]);
      p.query = right.leftCols(p.query.cols());
      p.key = right.middleCols(p.query.cols(), p.key.cols());
      p.value = right.rightCols(p.value.cols());
    });
  };
  return slip;
}

Slip exchanged(Projection one, Projection other, const char* text) {
  Slip slip;
  slip.text = text;
  slip.projections = {one, other};
  slip.undone = [one, other](const StoredAttention& module,
                             const StoredAttention&) -> std::optional<StoredAttention> {
    if (columns_of(one, module.config) != columns_of(other, module.config)) return std::nullopt;
    return moved(module, [&](Projections& p) { std::swap(p.at(one), p.at(other)); });
  };
  return slip;
}

// The first columns of projections of a module, which its first groups have, become rows of the front; biases
// stay.
void front_transposed(const AttentionWeights<double>& module, AttentionConfig config,
                      const std::vector<Projection>& which, AttentionWeights<double>& front,
                      const AttentionConfig& front_config) {
  const Index width = front_config.model_width;
  const Index readers = config.readers_per_group();
  config.groups = std::min(config.groups, 1 + (width - 1) / std::min(config.key_width, config.value_width));
  config.heads = config.groups * readers;
  AttentionWeights<double> first;
  first.groups.assign(module.groups.begin(), module.groups.begin() + config.groups);
  Projections from = projections_of(first, config);
  Projections to = projections_of(front, front_config);
  for (const Projection one : which)
    to.at(one).topRows(width) = from.at(one).topRows(config.model_width).leftCols(width).transpose();
  front = with_projections(std::move(front), to, front_config);
}

Slip transposed(std::vector<Projection> which) {
  Slip slip;
  slip.text = "stored transposed";
  slip.projections = which;
  const auto are_square = [which](const AttentionConfig& config) {
    return std::ranges::all_of(which,
                               [&](Projection one) { return columns_of(one, config) == config.model_width; });
  };
  slip.undone = [which, are_square](const StoredAttention& module,
                                    const StoredAttention&) -> std::optional<StoredAttention> {
    if (!are_square(module.config)) return std::nullopt;
    const Index d = module.config.model_width;
    return moved(module, [&](Projections& p) {
      for (const Projection one : which)
        p.at(one).topRows(d) = Matrix<double>(p.at(one).topRows(d).transpose());
    });
  };
  slip.undone_in_front = [which, are_square](const StoredAttention& module,
                                             const StoredAttention& front) -> std::optional<StoredAttention> {
    if (!are_square(module.config)) return std::nullopt;
    StoredAttention result = front;
    front_transposed(module.weights, module.config, which, result.weights, result.config);
    front_transposed(module.radius, module.config, which, result.radius, result.config);
    return result;
  };
  return slip;
}

}  // namespace

std::vector<Slip> layout_slips() {
  std::vector<Slip> slips;
  for (const std::vector<Projection>& which :
       {std::vector{Query, Key}, std::vector{Query}, std::vector{Key}}) {
    for (const bool to_halves : {true, false}) slips.push_back(pairs_in_other_order(which, to_halves));
  }
  for (const Rows rows : {Rows::Weights, Rows::Bias}) {
    for (const bool to_halves : {true, false})
      slips.push_back(pairs_in_other_order({Query, Key}, to_halves, rows));
  }
  slips.push_back(keys_ordered_as_queries(true));
  slips.push_back(keys_ordered_as_queries(false));
  slips.push_back(other_group_map(true));
  slips.push_back(other_group_map(false));
  for (const Fused stored : {Fused::Blocks, Fused::PerGroup, Fused::PerRow}) {
    for (const Fused read : {Fused::Blocks, Fused::PerGroup, Fused::PerRow})
      if (stored != read) slips.push_back(fused_in_other_order(stored, read));
  }
  slips.push_back(exchanged(Query, Key, "queries and keys are exchanged"));
  slips.push_back(exchanged(Key, Value, "keys and values are exchanged"));
  slips.push_back(exchanged(Query, Value, "queries and values are exchanged"));
  for (const std::vector<Projection>& which :
       {std::vector{Query, Key, Value, Output}, std::vector{Query, Key, Value}, std::vector{Query},
        std::vector{Key}, std::vector{Value}, std::vector{Output}, std::vector{Query, Output}})
    slips.push_back(transposed(which));
  return slips;
}

}  // namespace attnsym
