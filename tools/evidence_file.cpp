#include "tools/evidence_file.hpp"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "checkpoint/safetensors.hpp"
#include "checkpoint/safetensors_writer.hpp"
#include "checkpoint/sha256.hpp"
#include "symmetry/errors.hpp"
#include "tools/version.hpp"

namespace attnsym {
namespace {

using Metadata = std::map<std::string, std::string>;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr const char* certificate_schema = "attnsym.certificate/2";
constexpr const char* witness_schema = "attnsym.witness/2";

std::string digest_placeholder() { return std::string(64, '0'); }

template <class T>
std::vector<std::byte> bytes_of(const T* data, std::size_t count) {
  std::vector<std::byte> bytes(count * sizeof(T));
  if (count > 0) std::memcpy(bytes.data(), data, bytes.size());
  return bytes;
}

NamedTensor matrix_tensor(const std::string& name, const Matrix<double>& m, std::vector<std::int64_t> shape) {
  const RowMajor rows = m;
  return {name, Dtype::F64, std::move(shape), bytes_of(rows.data(), static_cast<std::size_t>(rows.size()))};
}

NamedTensor matrix_tensor(const std::string& name, const Matrix<double>& m) {
  return matrix_tensor(name, m, {m.rows(), m.cols()});
}

// Gauges of all groups below each other.
template <class Pick>
Matrix<double> stacked(const AttentionElement<double>& element, Pick pick) {
  const Matrix<double> first = pick(element.local.front());
  Matrix<double> stack(first.rows() * static_cast<Index>(element.local.size()), first.cols());
  for (std::size_t j = 0; j < element.local.size(); ++j)
    stack.middleRows(first.rows() * j, first.rows()) = pick(element.local[j]);
  return stack;
}

using PickGauge = const Affine<double>& (*)(const GroupMove<double>&);

void add_gauges(std::vector<NamedTensor>& tensors, const std::string& prefix,
                const AttentionElement<double>& element, PickGauge gauge) {
  const Index n = gauge(element.local.front()).linear.size();
  const Index g = static_cast<Index>(element.local.size());
  const auto matrix = [&](const auto& move) { return gauge(move).linear.matrix(); };
  const auto inverse = [&](const auto& move) { return gauge(move).linear.inverse_matrix(); };
  const auto shift = [&](const auto& move) { return Matrix<double>(gauge(move).shift); };
  tensors.push_back(matrix_tensor(prefix + ".gauge", stacked(element, matrix), {g, n, n}));
  tensors.push_back(matrix_tensor(prefix + ".inverse", stacked(element, inverse), {g, n, n}));
  tensors.push_back(matrix_tensor(prefix + ".shift", stacked(element, shift), {g, n}));
}

std::string layer_prefix(std::size_t layer) { return "layers." + std::to_string(layer); }

void add_evidence(std::vector<NamedTensor>& tensors, const std::string& prefix,
                  const AttentionElement<double>& element) {
  const std::vector<Index> image = head_image(element).image();
  const Index g = element.top.size();
  const Index h = static_cast<Index>(image.size());
  tensors.push_back({prefix + ".head_image", Dtype::I64, {g, h / g}, bytes_of(image.data(), image.size())});
  add_gauges(tensors, prefix + ".qk", element, &qk_gauge<double>);
  add_gauges(tensors, prefix + ".vo", element, &vo_gauge<double>);
}

// For every head of one module the number of its class.
std::vector<Index> class_numbers(const HeadClasses& classes, std::vector<Index> HeadClass::*side) {
  std::size_t heads = 0;
  for (const HeadClass& one : classes) heads += (one.*side).size();
  std::vector<Index> numbers(heads, 0);
  for (std::size_t k = 0; k < classes.size(); ++k) {
    for (const Index head : classes[k].*side)
      numbers.at(static_cast<std::size_t>(head)) = static_cast<Index>(k);
  }
  return numbers;
}

void add_evidence(std::vector<NamedTensor>& tensors, const std::string& prefix, const HeadClasses& classes) {
  for (const auto& [name, side] :
       {std::pair(".classes_a", &HeadClass::a), std::pair(".classes_b", &HeadClass::b)}) {
    const std::vector<Index> numbers = class_numbers(classes, side);
    const auto heads = static_cast<std::int64_t>(numbers.size());
    tensors.push_back({prefix + name, Dtype::I64, {heads}, bytes_of(numbers.data(), numbers.size())});
  }
}

// Reading a certificate; every complaint names the file.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : file_(SafetensorsFile::open(path)) {}

  const SafetensorsFile& file() const { return file_; }

  [[noreturn]] void refuse(const std::string& reason) const {
    throw FormatError(file_.path().string() + ": " + reason);
  }

  const std::string& fact(const std::string& key) const {
    const auto found = file_.metadata().find(key);
    if (found == file_.metadata().end()) refuse("__metadata__ has no '" + key + "'");
    return found->second;
  }

  template <class T>
  T number(const std::string& key) const {
    try {
      return nlohmann::json::parse(fact(key)).get<T>();
    } catch (const nlohmann::json::exception&) {
      refuse("'" + key + "' is not a number");
    }
  }

  Metadata facts(const std::string& key) const {
    try {
      return nlohmann::json::parse(fact(key)).get<Metadata>();
    } catch (const nlohmann::json::exception&) {
      refuse("'" + key + "' is not a table of digests");
    }
  }

  const TensorInfo* find(const std::string& name) const { return file_.find(name); }

  const TensorInfo& tensor(const std::string& name, Dtype dtype, std::size_t axes) const {
    const TensorInfo* info = file_.find(name);
    if (info == nullptr) refuse("tensor '" + name + "' is missing");
    if (info->dtype != dtype || info->shape.size() != axes)
      refuse("tensor '" + name + "' has the wrong dtype or number of axes");
    return *info;
  }

  // All axes but the last are rows.
  Matrix<double> matrix(const TensorInfo& info) const {
    const Index cols = info.shape.back();
    Index rows = 1;
    for (std::size_t axis = 0; axis + 1 < info.shape.size(); ++axis) rows *= info.shape[axis];
    RowMajor result(rows, cols);
    if (file_.bytes(info).size() > 0)
      std::memcpy(result.data(), file_.bytes(info).data(), file_.bytes(info).size());
    return result;
  }

  std::vector<Index> indices(const TensorInfo& info) const {
    std::vector<Index> result(file_.bytes(info).size() / sizeof(Index));
    if (file_.bytes(info).size() > 0)
      std::memcpy(result.data(), file_.bytes(info).data(), file_.bytes(info).size());
    return result;
  }

 private:
  SafetensorsFile file_;
};

std::vector<Affine<double>> read_gauges(const Reader& reader, const std::string& prefix, Index groups) {
  const TensorInfo& gauge = reader.tensor(prefix + ".gauge", Dtype::F64, 3);
  const TensorInfo& inverse = reader.tensor(prefix + ".inverse", Dtype::F64, 3);
  const TensorInfo& shift = reader.tensor(prefix + ".shift", Dtype::F64, 2);
  const Index n = gauge.shape[1];
  const std::vector<std::int64_t> cube{groups, n, n};
  if (n < 1 || gauge.shape != cube || inverse.shape != cube ||
      shift.shape != std::vector<std::int64_t>{groups, n}) {
    reader.refuse("the gauges under '" + prefix + "' do not fit together");
  }
  const Matrix<double> matrices = reader.matrix(gauge);
  const Matrix<double> inverses = reader.matrix(inverse);
  const Matrix<double> shifts = reader.matrix(shift);
  std::vector<Affine<double>> result;
  for (Index j = 0; j < groups; ++j) {
    result.push_back({GeneralLinear<double>::from_matrix_and_inverse(matrices.middleRows(n * j, n),
                                                                     inverses.middleRows(n * j, n)),
                      shifts.row(j)});
  }
  return result;
}

AttentionElement<double> read_element(const Reader& reader, const std::string& prefix) {
  const TensorInfo& image = reader.tensor(prefix + ".head_image", Dtype::I64, 2);
  const Index g = image.shape[0];
  const Index r = image.shape[1];
  if (g < 1 || r < 1) reader.refuse("tensor '" + image.name + "' is empty");
  const std::vector<Index> heads = reader.indices(image);
  const std::vector<Affine<double>> qk = read_gauges(reader, prefix + ".qk", g);
  const std::vector<Affine<double>> vo = read_gauges(reader, prefix + ".vo", g);
  std::vector<Index> groups;
  std::vector<GroupMove<double>> local;
  for (Index j = 0; j < g; ++j) {
    groups.push_back(heads[j * r] / r);
    std::vector<Index> readers;
    for (Index i = 0; i < r; ++i) {
      if (heads[j * r + i] < 0 || heads[j * r + i] / r != groups.back())
        reader.refuse("'" + image.name + "' splits a group");
      readers.push_back(heads[j * r + i] % r);
    }
    local.push_back({Permutation::from_image(std::move(readers)), {qk[j], vo[j]}});
  }
  return {std::move(local), Permutation::from_image(std::move(groups))};
}

HeadClasses read_classes(const Reader& reader, const std::string& prefix) {
  const TensorInfo& tensor_a = reader.tensor(prefix + ".classes_a", Dtype::I64, 1);
  const TensorInfo& tensor_b = reader.tensor(prefix + ".classes_b", Dtype::I64, 1);
  const std::vector<Index> a = reader.indices(tensor_a);
  const std::vector<Index> b = reader.indices(tensor_b);
  HeadClasses classes;
  const auto add = [&](const std::vector<Index>& numbers, std::vector<Index> HeadClass::*side) {
    for (std::size_t head = 0; head < numbers.size(); ++head) {
      if (numbers[head] < 0 || numbers[head] >= static_cast<Index>(a.size() + b.size()))
        reader.refuse("the classes under '" + prefix + "' have a number out of range");
      const auto place = static_cast<std::size_t>(numbers[head]);
      if (classes.size() <= place) classes.resize(place + 1);
      (classes[place].*side).push_back(static_cast<Index>(head));
    }
  };
  add(a, &HeadClass::a);
  add(b, &HeadClass::b);
  std::erase_if(classes, [](const HeadClass& one) { return one.a.empty() && one.b.empty(); });
  return classes;
}

EqualityEvidence read_evidence(const Reader& reader, const std::string& prefix) {
  if (reader.find(prefix + ".classes_a") != nullptr) return read_classes(reader, prefix);
  return read_element(reader, prefix);
}

// The digest of the whole file with the digest's own digits zeroed.
std::string digest_of(std::vector<std::byte> bytes, const std::string& digest) {
  const auto* text = reinterpret_cast<const std::byte*>(digest.data());
  const auto place = std::search(bytes.begin(), bytes.end(), text, text + digest.size());
  if (place != bytes.end()) std::fill_n(place, digest.size(), std::byte{'0'});
  return sha256(bytes);
}

bool is_intact(const Reader& reader) {
  const std::string& digest = reader.fact("digest");
  const MappedFile whole = MappedFile::open(reader.file().path());
  const std::vector<std::byte> bytes(whole.bytes().begin(), whole.bytes().end());
  return digest.size() == digest_placeholder().size() && digest_of(bytes, digest) == digest;
}

NamedTensor index_tensor(const std::string& name, const std::vector<Index>& numbers) {
  return {name,
          Dtype::I64,
          {static_cast<std::int64_t>(numbers.size())},
          bytes_of(numbers.data(), numbers.size())};
}

void add_model(std::vector<NamedTensor>& tensors, const CertificateFile::Model& model) {
  if (model.stream.size() > 0) tensors.push_back(matrix_tensor("stream", model.stream));
  for (std::size_t layer = 0; layer < model.neurons.size(); ++layer)
    tensors.push_back(index_tensor(layer_prefix(layer) + ".neurons", model.neurons[layer]));
  if (!model.tokens.empty()) tensors.push_back(index_tensor("witness.tokens", model.tokens));
}

CertificateFile::Model read_model(const Reader& reader, std::size_t layers) {
  CertificateFile::Model model;
  model.outputs = reader.fact("outputs");
  if (model.outputs != "logits" && model.outputs != "probabilities")
    reader.refuse("'outputs' is neither logits nor probabilities");
  if (reader.find("stream") != nullptr) model.stream = reader.matrix(reader.tensor("stream", Dtype::F64, 2));
  for (std::size_t layer = 0; layer < layers; ++layer)
    model.neurons.push_back(reader.indices(reader.tensor(layer_prefix(layer) + ".neurons", Dtype::I64, 1)));
  if (reader.find("witness.tokens") != nullptr)
    model.tokens = reader.indices(reader.tensor("witness.tokens", Dtype::I64, 1));
  return model;
}

}  // namespace

std::vector<std::byte> serialize(const CertificateFile& certificate) {
  std::vector<NamedTensor> tensors;
  for (std::size_t layer = 0; layer < certificate.layers.size(); ++layer) {
    std::visit([&](const auto& evidence) { add_evidence(tensors, layer_prefix(layer), evidence); },
               certificate.layers[layer]);
  }
  Metadata metadata{{"schema", certificate_schema},
                    {"version", version},
                    {"scope", certificate.model ? "model" : "attention"},
                    {"verdict", certificate.verdict},
                    {"arithmetic", certificate.exact ? "exact" : "rounded"},
                    {"seed", std::to_string(certificate.seed)},
                    {"layers", std::to_string(certificate.layers.size())},
                    {"a_files", nlohmann::json(certificate.a_files).dump()},
                    {"b_files", nlohmann::json(certificate.b_files).dump()},
                    {"digest", digest_placeholder()}};
  if (certificate.witness_input.size() > 0) {
    metadata["witness_layer"] = std::to_string(certificate.witness_layer);
    tensors.push_back(matrix_tensor("witness.input", certificate.witness_input));
  }
  if (certificate.model) {
    metadata["outputs"] = certificate.model->outputs;
    add_model(tensors, *certificate.model);
  }
  metadata["digest"] = sha256(serialize_safetensors(tensors, metadata));
  return serialize_safetensors(tensors, metadata);
}

std::optional<CertificateFile> read_certificate(const std::filesystem::path& path) {
  const Reader reader(path);
  if (reader.fact("schema") != certificate_schema)
    reader.refuse("the schema is not " + std::string(certificate_schema));
  if (!is_intact(reader)) return std::nullopt;
  CertificateFile certificate;
  certificate.verdict = reader.fact("verdict");
  certificate.exact = reader.fact("arithmetic") == "exact";
  certificate.seed = reader.number<std::uint64_t>("seed");
  certificate.a_files = reader.facts("a_files");
  certificate.b_files = reader.facts("b_files");
  const auto layers = reader.number<std::size_t>("layers");
  for (std::size_t layer = 0; layer < layers; ++layer) {
    certificate.layers.push_back(read_evidence(reader, layer_prefix(layer)));
  }
  if (reader.find("witness.input") != nullptr) {
    certificate.witness_layer = reader.number<std::size_t>("witness_layer");
    certificate.witness_input = reader.matrix(reader.tensor("witness.input", Dtype::F64, 2));
  }
  if (reader.fact("scope") == "model") certificate.model = read_model(reader, layers);
  return certificate;
}

std::vector<std::byte> serialize(const Witness& witness, std::size_t layer) {
  return serialize_safetensors(
      {matrix_tensor("input", witness.input), matrix_tensor("output_a", witness.output_a),
       matrix_tensor("output_b", witness.output_b)},
      {{"schema", witness_schema},
       {"version", version},
       {"layer", std::to_string(layer)},
       {"gap", nlohmann::json(witness.gap).dump()},
       {"gap_at_least", nlohmann::json(witness.gap_at_least).dump()},
       {"apart_at_least", nlohmann::json(witness.apart_at_least).dump()},
       {"noise", nlohmann::json(witness.noise).dump()}});
}

}  // namespace attnsym
