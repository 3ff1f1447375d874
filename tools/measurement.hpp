#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "verify/measured_dimension.hpp"

namespace attnsym {

/// The predicted dimension of a group beside the measured one, of a tiny module in place of a model's.
struct Measurement {
  AttentionConfig tiny;
  Index predicted = 0;
  MeasuredDimension measured;

  bool agrees() const { return measured.dimension == predicted; }

  /// For people, without a newline at the end.
  std::string text() const;

  /// The value of "measured" in attnsym.explain/1.
  nlohmann::json json() const;
};

/// @throws ShapeError as tiny_config_like and measure_dimension
Measurement measure_module_like(const AttentionConfig& config);

}  // namespace attnsym
