#pragma once

#include <CLI/App.hpp>
#include <string>

namespace attnsym {

/// A check of options: a whole number from 0 that 64 bits hold. (Conversions would take -1 and twenty
/// digits.)
CLI::Validator seeds();

/// A check of options: a number from `least` to `most`, which NaN is not.
CLI::Validator numbers_between(double least, double most);

}  // namespace attnsym
