#include "tools/number_options.hpp"

#include <charconv>
#include <cstdint>

#include "verify/verdict.hpp"

namespace attnsym {
namespace {

// Whether all of the text is one number, kept in `value`.
template <class Number>
bool parses(const std::string& text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

CLI::Validator seeds() {
  return {[](std::string& text) {
            std::uint64_t seed = 0;
            return parses(text, seed) ? "" : text + " is not a whole number from 0 to 18446744073709551615";
          },
          "UINT64", "seed"};
}

CLI::Validator numbers_between(double least, double most) {
  const std::string range = brief(least) + " to " + brief(most);
  return {[=](std::string& text) {
            double value = 0;
            return parses(text, value) && value >= least && value <= most
                       ? ""
                       : text + " is not a number from " + range;
          },
          range, "number"};
}

}  // namespace attnsym
