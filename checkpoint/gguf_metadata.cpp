#include "checkpoint/gguf_metadata.hpp"

#include <cmath>

#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

std::string value_text(const GgufValue& value) {
  if (const auto* text = std::get_if<std::string>(&value)) return in_quotes(*text);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<double>(&value)) return std::to_string(*number);
  if (const auto* number = std::get_if<std::uint64_t>(&value)) return std::to_string(*number);
  if (const auto* number = std::get_if<std::int64_t>(&value)) return std::to_string(*number);
  return "a list of " + std::to_string(std::get<GgufArray>(value).count);
}

}  // namespace

const GgufValue* GgufMetadata::find(const std::string& key) {
  read_.insert(key);
  const auto found = header_.metadata.find(key);
  return found == header_.metadata.end() ? nullptr : &found->second;
}

std::optional<Index> GgufMetadata::integer(const std::string& key, Index least) {
  constexpr Index largest = Index{1} << 31;
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::optional<Index> result;
  if (const auto* number = std::get_if<std::uint64_t>(value))
    result = *number <= static_cast<std::uint64_t>(largest) ? static_cast<Index>(*number) : -1;
  if (const auto* number = std::get_if<std::int64_t>(value)) result = *number <= largest ? *number : -1;
  if (!result || *result < least) refuse(key, "an integer from " + std::to_string(least) + " to 2^31");
  return result;
}

std::optional<Index> GgufMetadata::size(const std::string& key) { return integer(key, 1); }

std::optional<Index> GgufMetadata::count(const std::string& key) { return integer(key, 0); }

std::optional<double> GgufMetadata::number(const std::string& key) {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  const auto* number = std::get_if<double>(value);
  if (number == nullptr || !std::isfinite(*number)) refuse(key, "a finite floating-point number");
  return *number;
}

std::optional<std::string> GgufMetadata::text(const std::string& key) {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* text = std::get_if<std::string>(value)) return *text;
  refuse(key, "a text");
}

std::optional<bool> GgufMetadata::flag(const std::string& key) {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  refuse(key, "true or false");
}

Index GgufMetadata::required_size(const std::string& key) {
  if (const auto found = size(key)) return *found;
  missing(key, "a positive integer");
}

double GgufMetadata::required_number(const std::string& key) {
  if (const auto found = number(key)) return *found;
  missing(key, "a number");
}

void GgufMetadata::require_read(std::string_view prefix) const {
  for (auto pair = header_.metadata.lower_bound(prefix); pair != header_.metadata.end(); ++pair) {
    if (!pair->first.starts_with(prefix)) return;
    if (!read_.contains(pair->first))
      fail("the key " + in_quotes(pair->first) + " is " + value_text(pair->second) +
           "; what it does to attention is not known");
  }
}

void GgufMetadata::fail(const std::string& reason) const { throw FormatError(name_ + ": " + reason); }

void GgufMetadata::refuse(const std::string& key, const std::string& expected) const {
  fail("the key " + in_quotes(key) + " is " + value_text(header_.metadata.at(key)) + ", expected " +
       expected);
}

void GgufMetadata::missing(const std::string& key, const std::string& expected) const {
  fail("the key " + in_quotes(key) + " is missing, expected " + expected);
}

}  // namespace attnsym
