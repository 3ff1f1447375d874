#include "checkpoint/json_object.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "checkpoint/printable.hpp"
#include "checkpoint/strict_json.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {

struct JsonObject::Value {
  nlohmann::json json;

  const nlohmann::json* find(std::string_view key) const {
    const auto found = json.find(key);
    return found == json.end() || found->is_null() ? nullptr : &*found;
  }
};

JsonObject JsonObject::parse(std::string_view text, std::string_view name) {
  require_strict_json(text, name);
  JsonObject object(std::make_shared<const Value>(Value{nlohmann::json::parse(text)}), std::string(name));
  if (!object.value_->json.is_object()) object.fail("expected a JSON object");
  return object;
}

JsonObject JsonObject::with_defaults(const JsonObject& other) const {
  nlohmann::json merged = other.value_->json;
  for (const auto& [key, value] : value_->json.items()) {
    // Of a number null may be an answer, as of the width of a window.
    if (!(value.is_null() && merged.contains(key) && merged[key].is_string())) merged[key] = value;
  }
  return {std::make_shared<const Value>(Value{std::move(merged)}), name_};
}

JsonObject JsonObject::with_text(std::string_view key, std::string_view text) const {
  nlohmann::json changed = value_->json;
  changed[std::string(key)] = std::string(text);
  return {std::make_shared<const Value>(Value{std::move(changed)}), name_};
}

bool JsonObject::contains(std::string_view key) const { return value_->json.contains(key); }

bool JsonObject::is_empty(std::string_view key) const {
  const nlohmann::json* value = value_->find(key);
  return value == nullptr || (value->is_structured() && value->empty());
}

bool JsonObject::has(std::string_view key) const { return value_->find(key) != nullptr; }

bool JsonObject::is_object(std::string_view key) const {
  const nlohmann::json* value = value_->find(key);
  return value && value->is_object();
}

std::vector<std::string> JsonObject::keys() const {
  std::vector<std::string> result;
  for (const auto& [key, value] : value_->json.items()) result.push_back(key);
  return result;
}

std::optional<Index> JsonObject::size(std::string_view key, Index least) const {
  constexpr Index largest = Index{1} << 31;
  const nlohmann::json* value = value_->find(key);
  if (!value) return std::nullopt;
  if (!value->is_number_integer() || *value < least || *value > largest)
    refuse(key, least > 0 ? "a positive integer up to 2^31" : "an integer from 0 to 2^31");
  return value->get<Index>();
}

std::optional<double> JsonObject::number(std::string_view key) const {
  const nlohmann::json* value = value_->find(key);
  if (!value) return std::nullopt;
  if (!value->is_number() || !std::isfinite(value->get<double>())) refuse(key, "a finite number");
  return value->get<double>();
}

std::optional<std::string> JsonObject::text(std::string_view key) const {
  const nlohmann::json* value = value_->find(key);
  if (!value) return std::nullopt;
  if (!value->is_string()) refuse(key, "a string");
  return value->get<std::string>();
}

std::optional<bool> JsonObject::flag(std::string_view key) const {
  const nlohmann::json* value = value_->find(key);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) refuse(key, "true or false");
  return value->get<bool>();
}

std::optional<std::vector<std::string>> JsonObject::texts(std::string_view key) const {
  const nlohmann::json* value = value_->find(key);
  if (!value) return std::nullopt;
  if (value->is_string()) return std::vector{value->get<std::string>()};
  if (!value->is_array()) refuse(key, "a string or a list of strings");
  std::vector<std::string> result;
  for (const nlohmann::json& item : *value) {
    if (!item.is_string()) refuse(key, "a string or a list of strings");
    result.push_back(item.get<std::string>());
  }
  return result;
}

std::optional<std::vector<double>> JsonObject::numbers(std::string_view key) const {
  const nlohmann::json* value = value_->find(key);
  if (!value) return std::nullopt;
  if (!value->is_array()) refuse(key, "a list of numbers");
  std::vector<double> result;
  for (const nlohmann::json& item : *value) {
    if (!item.is_number() || !std::isfinite(item.get<double>())) refuse(key, "a list of finite numbers");
    result.push_back(item.get<double>());
  }
  return result;
}

std::vector<Index> JsonObject::sizes(std::string_view key) const {
  const nlohmann::json* value = value_->find(key);
  if (!value) return {};
  if (!value->is_array()) return {*size(key)};
  std::vector<Index> result;
  for (const nlohmann::json& item : *value) {
    if (!item.is_number_integer() || item < 1 || item > Index{1} << 31)
      refuse(key, "a positive integer up to 2^31, or a list of such");
    result.push_back(item.get<Index>());
  }
  return result;
}

bool JsonObject::same(std::string_view key, const JsonObject& other, std::string_view other_key) const {
  const nlohmann::json* value = value_->find(key);
  const nlohmann::json* of_other = other.value_->find(other_key);
  if (value == nullptr || of_other == nullptr) return value == of_other;
  return *value == *of_other;
}

bool JsonObject::is_one_of(std::string_view key, const JsonObject& other, std::string_view other_key) const {
  const nlohmann::json* value = value_->find(key);
  const nlohmann::json* list = other.value_->find(other_key);
  if (value == nullptr || list == nullptr || !list->is_array()) return same(key, other, other_key);
  return std::ranges::find(*list, *value) != list->end();
}

std::optional<JsonObject> JsonObject::object(std::string_view key) const {
  const nlohmann::json* value = value_->find(key);
  if (!value) return std::nullopt;
  if (!value->is_object()) refuse(key, "an object");
  return JsonObject(std::make_shared<const Value>(Value{*value}), name_);
}

std::string JsonObject::dump(std::string_view key) const {
  const nlohmann::json* value = value_->find(key);
  return value ? value->dump() : "null";
}

void JsonObject::fail(const std::string& reason) const { throw FormatError(name_ + ": " + reason); }

void JsonObject::refuse(std::string_view key, const std::string& expected) const {
  fail(in_quotes(key) + " is " + in_quotes(dump(key)) + ", expected " + expected);
}

}  // namespace attnsym
