#include "checkpoint/strict_json.hpp"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

constexpr std::size_t deepest_nesting = 64;
constexpr std::size_t most_bytes = 100'000'000;

// Looks at every value and keeps only the keys of the objects that are open.
class StrictChecker final : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit StrictChecker(std::string_view name) : name_(name) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }

  bool start_object(std::size_t) override { return enter(); }
  bool end_object() override { return leave(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_array() override { return leave(); }

  bool key(string_t& key) override {
    if (!open_.back().insert(key).second)
      throw FormatError(name_ + ": the key " + in_quotes(key) + " occurs twice");
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    throw FormatError(name_ + ": not valid JSON at byte " + std::to_string(position));
  }

 private:
  bool enter() {
    if (open_.size() == deepest_nesting) {
      throw FormatError(name_ + ": nested deeper than " + std::to_string(deepest_nesting) + " levels");
    }
    open_.emplace_back();
    return true;
  }

  bool leave() {
    open_.pop_back();
    return true;
  }

  std::string name_;
  std::vector<std::set<std::string>> open_;
};

}  // namespace

void require_strict_json(std::string_view text, std::string_view name) {
  if (text.size() > most_bytes) {
    throw FormatError(std::string(name) + ": JSON of " + std::to_string(text.size()) +
                      " bytes, expected at most " + std::to_string(most_bytes));
  }
  // For the parser below it would be the end of the text.
  if (const std::size_t place = text.find('\0'); place != std::string_view::npos)
    throw FormatError(std::string(name) + ": not valid JSON at byte " + std::to_string(place + 1));
  StrictChecker checker(name);
  nlohmann::json::sax_parse(text, &checker);
}

}  // namespace attnsym
