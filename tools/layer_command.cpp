#include "tools/layer_command.hpp"

#include <cmath>
#include <cstdlib>
#include <optional>
#include <sstream>

#include "checkpoint/file.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/safetensors.hpp"
#include "checkpoint/safetensors_writer.hpp"
#include "tools/shell.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

using Path = std::filesystem::path;

constexpr std::uintmax_t most_output = std::uintmax_t{4} << 30;

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

Path folder_for_files() {
  std::error_code error;
  Path folder = std::filesystem::temp_directory_path(error);
  if (error) {
    const char* wanted = std::getenv("TMPDIR");
    throw IoError(std::string(wanted != nullptr ? wanted : "/tmp") +
                  ": no directory for temporary files: " + error.message());
  }
  return folder;
}

NamedTensor side_by_side(const TensorAxes& tensor, std::size_t number, Dtype dtype,
                         const std::vector<TensorValues>& checkpoints) {
  NamedTensor result{tensor.name, dtype, {static_cast<std::int64_t>(checkpoints.size())}, {}};
  result.shape.insert(result.shape.end(), tensor.axes.begin(), tensor.axes.end());
  const std::size_t bytes = static_cast<std::size_t>(tensor.size()) * size_of(dtype);
  result.bytes.resize(bytes * checkpoints.size());
  for (std::size_t n = 0; n < checkpoints.size(); ++n) {
    encode(dtype, checkpoints[n][number], std::span(result.bytes).subspan(n * bytes, bytes));
  }
  return result;
}

LayerOutput read_output(const SafetensorsFile& file, const TensorInfo& tensor) {
  LayerOutput output{tensor.dtype, {tensor.shape.begin(), tensor.shape.end()}, {}};
  output.values.resize(tensor.size() / size_of(tensor.dtype));
  try {
    decode(tensor.dtype, file.bytes(tensor), output.values);
  } catch (const FormatError&) {
    throw LayerCallError("output tensor " + in_quotes(tensor.name) + " has dtype " +
                         std::string(name_of(tensor.dtype)) + ", expected F64, F32, F16 or BF16");
  }
  return output;
}

}  // namespace

LayerCommand::LayerCommand(LayerCommandOptions options)
    : options_(std::move(options)), folder_(folder_for_files()) {
  for (const char* place : {"{in}", "{out}"}) {
    if (options_.command.find(place) == std::string::npos)
      throw ShapeError(std::string("--command needs ") + place + " where the name of that file belongs");
  }
}

namespace {

std::string what_it_said(const std::string& said) {
  constexpr std::size_t most_lines = 12;
  std::istringstream text(said);
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) lines.push_back("  | " + printable(line));
  if (lines.empty()) return "; it printed nothing";
  if (lines.size() > most_lines) lines.erase(lines.begin(), lines.end() - most_lines);
  return "; the last it printed:\n" + joined(lines, "\n");
}

}  // namespace

LayerOutputs LayerCommand::operator()(const std::vector<TensorAxes>& tensors,
                                      const std::vector<TensorValues>& checkpoints) {
  const Path in = folder_.path() / "in.safetensors";
  const Path out = folder_.path() / "out.safetensors";
  std::filesystem::remove(in);
  std::filesystem::remove(out);
  std::vector<NamedTensor> stored;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    stored.push_back(side_by_side(tensors[i], i, options_.dtype, checkpoints));
  }
  File::create(in).write_at(0, serialize_safetensors(std::move(stored), {}));

  std::string command = options_.command;
  replace_all(command, "{in}", "\"$1\"");
  replace_all(command, "{out}", "\"$2\"");
  ++calls_;
  const auto [status, said] = run_in_shell(command, {in.string(), out.string()}, options_.timeout);
  const std::string end = what_it_said(said);
  if (!status) throw LayerCallError("the layer took more than " + brief(options_.timeout) + " seconds" + end);
  if (*status != 0) throw LayerCallError("the layer ended with status " + std::to_string(*status) + end);
  if (!std::filesystem::exists(out)) throw LayerCallError("the layer wrote no {out}" + end);
  if (std::filesystem::file_size(out) > most_output)
    throw LayerCallError("the layer wrote " + std::to_string(std::filesystem::file_size(out)) +
                         " bytes, expected at most " + std::to_string(most_output));
  try {
    const SafetensorsFile file = SafetensorsFile::open(out);
    LayerOutputs outputs;
    for (const TensorInfo& tensor : file.tensors()) outputs[tensor.name] = read_output(file, tensor);
    return outputs;
  } catch (const FormatError& error) {
    throw LayerCallError(std::string("the layer wrote no sound file: ") + error.what());
  }
}

}  // namespace attnsym
