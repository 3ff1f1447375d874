#include "checkpoint/output_list.hpp"

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "checkpoint/file.hpp"
#include "checkpoint/json_object.hpp"
#include "checkpoint/mapped_file.hpp"
#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

namespace fs = std::filesystem;

constexpr const char* schema = "attnsym.output/1";

// Relative paths; bytes that are no UTF-8 as hexadecimal numbers, so that JSON can hold them.
std::string name_in_list(const fs::path& path) {
  constexpr const char* digits = "0123456789abcdef";
  std::string text;
  for (const char c : path.string()) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '%') {
      text += c;
    } else {
      text += {'%', digits[byte / 16], digits[byte % 16]};
    }
  }
  return text;
}

std::vector<std::string> entries_of(const fs::path& directory) {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
    const std::string name = name_in_list(entry.path().lexically_relative(directory));
    if (name != output_list_name) names.push_back(name);
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace

void write_output_list(const fs::path& directory) {
  const nlohmann::json list{{"schema", schema}, {"files", entries_of(directory)}};
  const std::string text = list.dump(1) + "\n";
  File::create(directory / output_list_name).write_at(0, std::as_bytes(std::span(text)));
}

void require_own_output(const fs::path& directory) {
  if (fs::is_empty(directory)) return;
  const fs::path place = directory / output_list_name;
  const auto refuse = [&](const std::string& reason) {
    throw IoError(directory.string() + ": " + reason +
                  "; --force replaces only what attnsym wrote. Remove it "
                  "yourself, or choose another place");
  };
  if (!fs::is_regular_file(fs::symlink_status(place)))
    refuse(std::string("has no list of what attnsym wrote, ") + output_list_name);
  const MappedFile file = MappedFile::open(place);
  const JsonObject list = JsonObject::parse(
      {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, place.string());
  if (list.text("schema") != schema)
    refuse(std::string(output_list_name) + " is not a list that is understood");
  const std::vector<std::string> known = list.texts("files").value_or(std::vector<std::string>{});
  const std::set<std::string> names(known.begin(), known.end());
  for (const std::string& name : entries_of(directory)) {
    if (!names.contains(name)) refuse("holds " + in_quotes(name) + ", which attnsym did not write");
  }
}

}  // namespace attnsym
