#include "tools/layer_command.hpp"

#include <cmath>
#include <fstream>
#include <optional>

#include "checkpoint/file.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/safetensors.hpp"
#include "checkpoint/safetensors_writer.hpp"
#include "tools/shell.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

using Path = std::filesystem::path;

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

Path new_folder() {
  std::string name =
      (std::filesystem::temp_directory_path() / "attnsym-XXXXXX").string();  // mkdtemp fills the X in
  if (mkdtemp(name.data()) == nullptr) throw IoError(name + ": no folder could be made there");
  return name;
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

LayerCommand::LayerCommand(LayerCommandOptions options) : options_(std::move(options)) {
  for (const char* place : {"{in}", "{out}"}) {
    if (options_.command.find(place) == std::string::npos)
      throw ShapeError(std::string("--command needs ") + place + " where the name of that file belongs");
  }
  folder_ = new_folder();
}

LayerCommand::~LayerCommand() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string LayerCommand::what_it_said() const {
  constexpr std::size_t most_lines = 12;
  std::ifstream said(folder_ / "said");
  std::vector<std::string> lines;
  for (std::string line; std::getline(said, line);) lines.push_back("  | " + line);
  if (lines.empty()) return "; it printed nothing";
  if (lines.size() > most_lines) lines.erase(lines.begin(), lines.end() - most_lines);
  return "; the last it printed:\n" + joined(lines, "\n");
}

LayerOutputs LayerCommand::operator()(const std::vector<TensorAxes>& tensors,
                                      const std::vector<TensorValues>& checkpoints) {
  const Path in = folder_ / "in.safetensors";
  const Path out = folder_ / "out.safetensors";
  std::filesystem::remove(in);
  std::filesystem::remove(out);
  std::vector<NamedTensor> stored;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    stored.push_back(side_by_side(tensors[i], i, options_.dtype, checkpoints));
  }
  File::create(in).write_at(0, serialize_safetensors(std::move(stored), {}));

  std::string command = options_.command;
  replace_all(command, "{in}", in_shell_quotes(in.string()));
  replace_all(command, "{out}", in_shell_quotes(out.string()));
  ++calls_;
  const std::optional<int> status = run_in_shell(command, folder_ / "said", options_.timeout);
  if (!status)
    throw LayerCallError("the layer took more than " + brief(options_.timeout) + " seconds" + what_it_said());
  if (*status != 0)
    throw LayerCallError("the layer ended with status " + std::to_string(*status) + what_it_said());
  if (!std::filesystem::exists(out)) throw LayerCallError("the layer wrote no {out}" + what_it_said());
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
