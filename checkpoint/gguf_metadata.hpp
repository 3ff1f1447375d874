#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "checkpoint/gguf.hpp"
#include "symmetry/scalar.hpp"

namespace attnsym {

/// The metadata of a GGUF file, read with messages that name file and key, and remembering what was read.
class GgufMetadata {
 public:
  /// @param header outlives this object. @param name goes into messages: the file's name.
  GgufMetadata(const GgufHeader& header, std::string_view name) : header_(header), name_(name) {}

  bool has(const std::string& key) const { return header_.metadata.contains(key); }

  // Absent where the key is. @throws FormatError if the value is of another kind.
  std::optional<Index> size(const std::string& key);     ///< 1 to 2^31
  std::optional<Index> count(const std::string& key);    ///< 0 to 2^31
  std::optional<double> number(const std::string& key);  ///< finite
  std::optional<std::string> text(const std::string& key);
  std::optional<bool> flag(const std::string& key);

  /// @throws FormatError also where the key is absent.
  Index required_size(const std::string& key);
  double required_number(const std::string& key);

  /// @throws FormatError for a key with this beginning that was never asked for.
  void require_read(std::string_view prefix) const;

  /// @throws FormatError: FILE: REASON.
  [[noreturn]] void fail(const std::string& reason) const;

  /// @throws FormatError: FILE: KEY is VALUE, expected `expected`.
  [[noreturn]] void refuse(const std::string& key, const std::string& expected) const;

 private:
  const GgufValue* find(const std::string& key);
  std::optional<Index> integer(const std::string& key, Index least);
  [[noreturn]] void missing(const std::string& key, const std::string& expected) const;

  const GgufHeader& header_;
  std::string name_;
  std::set<std::string, std::less<>> read_;
};

}  // namespace attnsym
