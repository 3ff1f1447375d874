#include "tools/predictor_file.hpp"

#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "checkpoint/json_object.hpp"
#include "checkpoint/printable.hpp"
#include "checkpoint/safetensors.hpp"
#include "checkpoint/safetensors_writer.hpp"
#include "symmetry/errors.hpp"
#include "tools/version.hpp"

namespace attnsym {
namespace {

constexpr const char* schema = "attnsym.predictor/1";
constexpr Index most_channels = 4096;  // or features of heads
constexpr Index most_checkpoints = 1000000000;

constexpr const char* squares_prefix = "adam.mean_square.";

// Networks whose parameters are stored, each under a prefix of its own.
struct Part {
  std::string prefix;
  Predictor<float>& numbers;
};

std::vector<Part> parts_of(PredictorFile& predictor) {
  auto& trainer = predictor.trainer;
  std::vector<Part> parts{{"", trainer.network}};
  if (!predictor.is_trained()) {
    parts.push_back({"adam.mean.", trainer.adam.mean});
    parts.push_back({squares_prefix, trainer.adam.mean_square});
  }
  return parts;
}

std::vector<std::int64_t> shape_of(const ParameterView<float>& view) {
  return {view.axes.begin(), view.axes.end()};
}

NamedTensor tensor_of(const std::string& name, const ParameterView<float>& view) {
  std::vector<double> values;
  for (Index i = 0; i < view.size(); ++i) values.push_back(view(i));
  NamedTensor tensor{name, Dtype::F32, shape_of(view), std::vector<std::byte>(values.size() * sizeof(float))};
  encode(Dtype::F32, values, tensor.bytes);
  return tensor;
}

std::string training_text(const PredictorFile& predictor) {
  const TrainingOptions& options = predictor.options;
  return nlohmann::json{{"loss", name_of(options.loss)},
                        {"epochs", options.schedule.epochs},
                        {"epochs_done", predictor.trainer.epoch},
                        {"steps", predictor.trainer.adam.steps},
                        {"batch", options.batch},
                        {"rate", options.schedule.peak},
                        {"last_rate", options.schedule.last},
                        {"warmup", options.schedule.warmup},
                        {"seed", std::to_string(options.seed)},
                        {"checkpoints", predictor.checkpoints},
                        {"data", predictor.data}}
      .dump();
}

// Reading; every complaint names the file.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& path)
      : file_(SafetensorsFile::open(path)), network_(object("network")), training_(object("training")) {}

  PredictorFile read() {
    NetworkLayout layout = read_layout();
    const Index channels = count(network_, "channels", 1, most_channels);
    const Index head_features =
        network_.number("head_features") ? count(network_, "head_features", 0, most_channels) : 0;
    require_room(layout.shape, channels, head_features);
    const TrainingOptions options = read_options();
    PredictorFile predictor{layout,
                            channels,
                            head_features,
                            options,
                            count(training_, "checkpoints", 1, most_checkpoints),
                            text(training_, "data"),
                            {Predictor<float>(layout.shape, channels, head_features), options}};
    predictor.trainer.epoch = count(training_, "epochs_done", 0, options.schedule.epochs);
    predictor.trainer.adam.steps = read_steps(predictor);
    read_numbers(predictor);
    return predictor;
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    throw FormatError(file_.path().string() + ": " + reason);
  }

  JsonObject object(const std::string& key) const {
    const auto& metadata = file_.metadata();
    const auto found = metadata.find("schema");
    if (found == metadata.end() || found->second != schema)
      fail("is no predictor: __metadata__ has no schema " + std::string(schema));
    if (!metadata.contains(key)) fail("__metadata__ has no " + in_quotes(key));
    return JsonObject::parse(metadata.at(key), file_.path().string() + ", " + key);
  }

  static double number(const JsonObject& from, const char* key) {
    const auto value = from.number(key);
    if (!value) from.fail(in_quotes(key) + " is missing");
    return *value;
  }

  static std::string text(const JsonObject& from, const char* key) {
    const auto value = from.text(key);
    if (!value) from.fail(in_quotes(key) + " is missing");
    return *value;
  }

  static Index count(const JsonObject& from, const char* key, Index least, Index most) {
    const double value = number(from, key);
    if (value != std::floor(value) || value < static_cast<double>(least) || value > static_cast<double>(most))
      from.refuse(key, "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
    return static_cast<Index>(value);
  }

  static std::string text_of(double value) { return nlohmann::json(value).dump(); }

  double rate(const char* key, double least) const {
    const double value = number(training_, key);
    if (value < least || value > TrainingLimits::most_rate)
      training_.refuse(key, "a number from " + text_of(least) + " to " + text_of(TrainingLimits::most_rate));
    return value;
  }

  // Steps follow from epochs, checkpoints and batch; another number would resume another training.
  Index read_steps(const PredictorFile& predictor) const {
    const Index batch = predictor.options.batch;
    const Index steps = predictor.trainer.epoch * ((predictor.checkpoints + batch - 1) / batch);
    if (number(training_, "steps") != static_cast<double>(steps))
      training_.refuse("steps", std::to_string(steps) + ", by 'epochs_done', 'checkpoints' and 'batch'");
    return steps;
  }

  NetworkLayout read_layout() const {
    const auto tensors = network_.object("tensors");
    if (!tensors) network_.fail("'tensors' is missing");
    TensorShapes shapes;
    for (const std::string& name : tensors->keys()) {
      auto& axes = shapes[name];
      for (const double extent : tensors->numbers(name).value_or(std::vector<double>{})) {
        constexpr double largest = 1U << 31U;
        if (extent != std::floor(extent) || extent < 0 || extent > largest) tensors->refuse(name, "extents");
        axes.push_back(static_cast<std::int64_t>(extent));
      }
    }
    return network_layout(std::move(shapes), file_.path().string());
  }

  // A few bytes of metadata could ask for all memory there is; the tensors that they speak of are in the
  // file.
  void require_room(const NetworkShape& shape, Index channels, Index head_features) const {
    const Index numbers = Predictor<float>::parameter_count(shape, channels, head_features);
    if (static_cast<std::size_t>(numbers) * 4 > file_.size())
      fail("has not as many numbers as its network has parameters");
  }

  TrainingOptions read_options() const {
    TrainingOptions options;
    const std::string loss = text(training_, "loss");
    if (loss != name_of(Loss::squared_error) && loss != name_of(Loss::binary_cross_entropy))
      training_.refuse("loss", "bce or mse");
    options.loss = loss == name_of(Loss::squared_error) ? Loss::squared_error : Loss::binary_cross_entropy;
    options.schedule = {rate("rate", TrainingLimits::least_rate), rate("last_rate", 0),
                        count(training_, "warmup", 0, TrainingLimits::most),
                        count(training_, "epochs", 1, TrainingLimits::most)};
    options.batch = count(training_, "batch", 1, TrainingLimits::most);
    const std::string seed = text(training_, "seed");
    const auto [end, error] = std::from_chars(seed.data(), seed.data() + seed.size(), options.seed);
    if (error != std::errc() || end != seed.data() + seed.size()) training_.refuse("seed", "a number");
    return options;
  }

  void read_numbers(PredictorFile& predictor) {
    std::set<std::string> known;
    for (const Part& part : parts_of(predictor)) {
      for (const ParameterView<float>& view : part.numbers.parameters()) {
        known.insert(part.prefix + view.name);
        read_tensor(part.prefix + view.name, view);
        if (part.prefix == squares_prefix) require_not_negative(part.prefix + view.name, view);
      }
    }
    for (const TensorInfo& tensor : file_.tensors()) {
      if (!known.contains(tensor.name)) fail("tensor " + in_quotes(tensor.name) + " is none of its network");
    }
  }

  void read_tensor(const std::string& name, const ParameterView<float>& view) const {
    const TensorInfo* tensor = file_.find(name);
    if (tensor == nullptr) fail("tensor " + in_quotes(name) + " is missing");
    if (tensor->dtype != Dtype::F32 || tensor->shape != shape_of(view))
      fail("tensor " + in_quotes(name) + " is " + std::string(name_of(tensor->dtype)) + " " +
           shape_text(tensor->shape) + ", expected F32 " + shape_text(shape_of(view)));
    std::vector<double> values(static_cast<std::size_t>(view.size()));
    decode(Dtype::F32, file_.bytes(*tensor), values);
    for (Index i = 0; i < view.size(); ++i) {
      view(i) = static_cast<float>(values[static_cast<std::size_t>(i)]);
      if (!std::isfinite(view(i))) fail("tensor " + in_quotes(name) + " has an entry that is not finite");
    }
  }

  void require_not_negative(const std::string& name, const ParameterView<float>& view) const {
    for (Index i = 0; i < view.size(); ++i) {
      if (view(i) < 0) fail("tensor " + in_quotes(name) + " has a negative entry, and is a mean of squares");
    }
  }

  SafetensorsFile file_;
  JsonObject network_;
  JsonObject training_;
};

}  // namespace

std::vector<std::byte> serialize(PredictorFile& predictor) {
  std::vector<NamedTensor> tensors;
  for (const Part& part : parts_of(predictor)) {
    for (const ParameterView<float>& view : part.numbers.parameters()) {
      tensors.push_back(tensor_of(part.prefix + view.name, view));
    }
  }
  const nlohmann::json network{{"channels", predictor.channels},
                               {"head_features", predictor.head_features},
                               {"tensors", predictor.layout.tensors}};
  return serialize_safetensors(std::move(tensors), {{"schema", schema},
                                                    {"version", version},
                                                    {"network", network.dump()},
                                                    {"training", training_text(predictor)}});
}

PredictorFile read_predictor(const std::filesystem::path& path) { return Reader(path).read(); }

std::string name_of(Loss loss) { return loss == Loss::squared_error ? "mse" : "bce"; }

bool is_finite(Predictor<float>& network) {
  for (const Matrix<float>* matrix : parameter_matrices(network.parameters())) {
    if (!matrix->allFinite()) return false;
  }
  return true;
}

}  // namespace attnsym
