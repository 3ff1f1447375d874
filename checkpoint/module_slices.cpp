#include "checkpoint/module_slices.hpp"

namespace attnsym {

// Rows, for a tensor that is not transposed, of all projections that share one with this.
Index ModuleSlices::out_rows(Projection projection) const {
  const Index queries = config_.heads * config_.key_width;
  const Index keys = config_.groups * config_.key_width;
  const Index values = config_.groups * config_.value_width;
  if (projection == Projection::Output) return config_.model_width;
  if (placement_.packing != Packing::Separate) return queries + keys + values;
  if (projection == Projection::Query) return queries;
  return projection == Projection::Key ? keys : values;
}

// The row of the first coordinate of a head, or for keys and values of a group.
Index ModuleSlices::first_row(Projection projection, Index index) const {
  const Index key_width = config_.key_width;
  const Index own = index * (projection == Projection::Value ? config_.value_width : key_width);
  if (placement_.packing == Packing::Separate) return own;
  const Index readers = config_.readers_per_group();
  if (placement_.packing == Packing::Concatenated) {
    if (projection == Projection::Query) return own;
    const Index queries = config_.heads * key_width;
    return queries + (projection == Projection::Key ? 0 : config_.groups * key_width) + own;
  }
  const Index per_group = (readers + 1) * key_width + config_.value_width;
  if (projection == Projection::Query) return index / readers * per_group + index % readers * key_width;
  return index * per_group + (readers + (projection == Projection::Key ? 0 : 1)) * key_width;
}

Index ModuleSlices::coordinate(Index row) const {
  if (!is_interleaved(Projection::Query) || row >= 2 * config_.rotary.pairs()) return row;
  return row / 2 + row % 2 * config_.rotary.pairs();
}

std::vector<std::int64_t> ModuleSlices::shape(Projection projection) const {
  const Index in =
      projection == Projection::Output ? config_.heads * config_.value_width : config_.model_width;
  const Index out = out_rows(projection);
  return placement_.transposed ? std::vector<std::int64_t>{in, out} : std::vector<std::int64_t>{out, in};
}

}  // namespace attnsym
