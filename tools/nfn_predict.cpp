#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "nfn/metrics.hpp"
#include "symmetry/errors.hpp"
#include "tools/executor.hpp"
#include "tools/label_table.hpp"
#include "tools/model.hpp"
#include "tools/nfn.hpp"
#include "tools/output.hpp"
#include "tools/predictor_file.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

struct PredictOptions {
  std::filesystem::path model;
  std::filesystem::path folder;
  std::filesystem::path labels;  // of eval
  std::size_t threads = default_workers();
  bool as_json = false;
};

struct Predictions {
  std::vector<std::string> files;
  std::vector<float> values;
};

Predictions predict(const PredictOptions& options) {
  const PredictorFile predictor = read_predictor(options.model);
  Predictions result{network_files(options.folder), {}};
  const NetworkWeights<float> weights = read_networks(options.folder, result.files, predictor.layout);
  const RunTasks run = [&](std::size_t count, const std::function<void(std::size_t)>& task) {
    run_tasks(count, options.threads, task);
  };
  const Matrix<float> outputs = outputs_of<float>(predictor.trainer.network, weights, run);
  const Matrix<float> values = predictions(predictor.options.loss, outputs);
  for (std::size_t i = 0; i < result.files.size(); ++i) {
    result.values.push_back(values(static_cast<Index>(i)));
    if (!std::isfinite(result.values.back()))
      throw FormatError((options.folder / result.files[i]).string() +
                        ": the prediction is not finite; are its weights like those of the training?");
  }
  return result;
}

// The shortest text that reads as this number again.
std::string exact_text(float value) {
  std::array<char, 32> text{};
  return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

ExitStatus run_predict(const PredictOptions& options) {
  const Predictions predicted = predict(options);
  if (options.as_json) {
    nlohmann::json list = nlohmann::json::array();
    for (std::size_t i = 0; i < predicted.files.size(); ++i) {
      list.push_back({{"file", predicted.files[i]}, {"prediction", predicted.values[i]}});
    }
    const nlohmann::json object{{"schema", "attnsym.nfn-predict/1"},
                                {"model", options.model.string()},
                                {"predictions", std::move(list)}};
    print_object(object);
    return ExitStatus::yes;
  }
  std::printf("file,prediction\n");
  for (std::size_t i = 0; i < predicted.files.size(); ++i) {
    std::printf("%s,%s\n", predicted.files[i].c_str(), exact_text(predicted.values[i]).c_str());
  }
  return ExitStatus::yes;
}

double mean_squared_error(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

// Rankings and variances of equal numbers are none.
std::string text_of(double figure) { return std::isnan(figure) ? "undefined" : brief(figure); }

ExitStatus run_eval(const PredictOptions& options) {
  const std::vector<double> labels = read_labels(options.labels, network_files(options.folder));
  const Predictions predicted = predict(options);
  const std::vector<double> values(predicted.values.begin(), predicted.values.end());
  const double tau = kendall_tau(labels, values);
  const double r2 = r_squared(labels, values);
  const double mse = mean_squared_error(labels, values);
  if (options.as_json) {
    const nlohmann::json object{{"schema", "attnsym.nfn-eval/1"},
                                {"model", options.model.string()},
                                {"checkpoints", labels.size()},
                                {"kendall_tau", tau},
                                {"r_squared", r2},
                                {"mean_squared_error", mse}};
    print_object(object);
    return ExitStatus::yes;
  }
  std::printf("checkpoints         %zu\n", labels.size());
  std::printf("Kendall tau         %s\n", text_of(tau).c_str());
  std::printf("R2                  %s\n", text_of(r2).c_str());
  std::printf("mean squared error  %s\n", text_of(mse).c_str());
  return ExitStatus::yes;
}

void add_options(CLI::App& command, PredictOptions& options) {
  command.add_option("MODEL", options.model, "A predictor that `attnsym nfn train` wrote")->required();
  command.add_option("DIR", options.folder, "The transformers")->required();
  add_threads_option(command, options.threads);
  command.add_flag("--json", options.as_json, "Print one JSON object");
  command.footer(network_folder_help);
}

}  // namespace

void setup_nfn_predict(CLI::App& nfn, ExitStatus& status) {
  auto options = std::make_shared<PredictOptions>();
  CLI::App* command =
      nfn.add_subcommand("predict", "Print file,prediction for every transformer of a folder");
  add_options(*command, *options);
  command->callback([options, &status] { status = run_predict(*options); });
}

void setup_nfn_eval(CLI::App& nfn, ExitStatus& status) {
  auto options = std::make_shared<PredictOptions>();
  CLI::App* command =
      nfn.add_subcommand("eval", "Compare predictions with labels: Kendall tau, R2, squared error");
  add_options(*command, *options);
  command->add_option("--labels", options->labels, "Their labels")->type_name("CSV")->required();
  command->callback([options, &status] { status = run_eval(*options); });
}

}  // namespace attnsym
