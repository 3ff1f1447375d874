#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "symmetry/scalar.hpp"

namespace attnsym {

/// A JSON object of a configuration, read with messages that name file, key and value. null counts as absent.
/// Sizes are at most 2^31, so products of two are safe.
class JsonObject {
 public:
  /// @param name goes into messages: the file the text comes from.
  /// @throws FormatError unless the text is one strict JSON object.
  static JsonObject parse(std::string_view text, std::string_view name);

  /// The same object, with members of `other` where it has none. What is there and null stays null,
  /// but for names: null is none of those, so that it takes the member of `other` where that is a text.
  JsonObject with_defaults(const JsonObject& other) const;

  /// The same object with this text for a member.
  JsonObject with_text(std::string_view key, std::string_view text) const;

  bool has(std::string_view key) const;       ///< there, and not null
  bool contains(std::string_view key) const;  ///< there, if only as null
  bool is_empty(std::string_view key) const;  ///< null, {} or [], or absent
  bool is_object(std::string_view key) const;
  std::vector<std::string> keys() const;

  // Absent where the key is. @throws FormatError if the value is of another kind.
  std::optional<Index> size(std::string_view key, Index least = 1) const;
  std::optional<double> number(std::string_view key) const;  ///< finite
  std::optional<std::string> text(std::string_view key) const;
  std::optional<bool> flag(std::string_view key) const;
  std::optional<std::vector<std::string>> texts(std::string_view key) const;  ///< also a single one
  std::optional<std::vector<double>> numbers(std::string_view key) const;
  std::optional<JsonObject> object(std::string_view key) const;

  /// Sizes, of which there may be one that stands alone; empty where the key is absent.
  std::vector<Index> sizes(std::string_view key) const;

  /// Whether both members have the same value; 1 and 1.0 are the same, and so are null and nothing.
  bool same(std::string_view key, const JsonObject& other, std::string_view other_key) const;

  /// Whether the member has the value of `other`, or one of its values where that is a list.
  bool is_one_of(std::string_view key, const JsonObject& other, std::string_view other_key) const;

  /// The value as JSON text; "null" where there is none.
  std::string dump(std::string_view key) const;

  /// @throws FormatError that begins with the file's name.
  [[noreturn]] void fail(const std::string& reason) const;

  /// @throws FormatError: KEY is VALUE, expected `expected`.
  [[noreturn]] void refuse(std::string_view key, const std::string& expected) const;

 private:
  struct Value;
  JsonObject(std::shared_ptr<const Value> value, std::string name)
      : value_(std::move(value)), name_(std::move(name)) {}

  std::shared_ptr<const Value> value_;
  std::string name_;
};

}  // namespace attnsym
