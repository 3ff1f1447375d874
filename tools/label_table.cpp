#include "tools/label_table.hpp"

#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <string_view>

#include "checkpoint/mapped_file.hpp"
#include "checkpoint/printable.hpp"
#include "symmetry/errors.hpp"

namespace attnsym {
namespace {

std::optional<double> finite_number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

// Takes the first line off the text, without its end.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

class LabelTable {
 public:
  LabelTable(const std::filesystem::path& path, const std::vector<std::string>& files)
      : name_(path.string()), labels_(files.size()) {
    for (std::size_t i = 0; i < files.size(); ++i) places_[files[i]] = i;
  }

  void read(std::string_view text) {
    if (take_line(text) != "file,label") fail("the first line is not file,label");
    for (line_ = 2; !text.empty(); ++line_) add(take_line(text));
  }

  std::vector<double> labels(const std::vector<std::string>& files) const {
    std::vector<double> result;
    for (std::size_t i = 0; i < files.size(); ++i) {
      if (!labels_[i]) throw FormatError(name_ + ": has no label for " + in_quotes(files[i]));
      result.push_back(*labels_[i]);
    }
    return result;
  }

 private:
  void add(std::string_view line) {
    const std::size_t comma = line.find(',');
    if (comma == std::string_view::npos) fail(in_quotes(line) + " is not file,label");
    const std::string file(line.substr(0, comma));
    const auto place = places_.find(file);
    if (place == places_.end()) fail("there is no file " + in_quotes(file));
    if (labels_[place->second]) fail("a second label for " + in_quotes(file));
    const std::string_view label = line.substr(comma + 1);
    labels_[place->second] = finite_number(label);
    if (!labels_[place->second])
      fail("the label of " + in_quotes(file) + " is " + in_quotes(label) + ", expected a finite number");
  }

  [[noreturn]] void fail(const std::string& reason) const {
    throw FormatError(name_ + ", line " + std::to_string(line_) + ": " + reason);
  }

  std::string name_;
  std::size_t line_ = 1;
  std::map<std::string, std::size_t> places_;
  std::vector<std::optional<double>> labels_;
};

}  // namespace

std::vector<double> read_labels(const std::filesystem::path& path, const std::vector<std::string>& files) {
  const MappedFile file = MappedFile::open(path);
  LabelTable table(path, files);
  table.read({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()});
  return table.labels(files);
}

}  // namespace attnsym
