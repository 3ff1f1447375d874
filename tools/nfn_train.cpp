#include <cmath>
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>

#include "checkpoint/atomic_output.hpp"
#include "checkpoint/sha256.hpp"
#include "symmetry/errors.hpp"
#include "tools/executor.hpp"
#include "tools/label_table.hpp"
#include "tools/model.hpp"
#include "tools/nfn.hpp"
#include "tools/number_options.hpp"
#include "tools/output.hpp"
#include "tools/predictor_file.hpp"
#include "verify/verdict.hpp"

namespace attnsym {
namespace {

struct TrainOptions {
  std::filesystem::path folder;
  std::filesystem::path labels;
  std::filesystem::path model;
  Index channels = 10;
  Index head_features = 0;
  TrainingOptions training;
  std::string loss = "bce";
  Index stop_after = 0;  // epochs; 0: none of them
  bool resume = false;
  bool force = false;
  std::size_t threads = default_workers();
  bool as_json = false;
};

struct TrainingSet {
  std::vector<std::string> files;
  NetworkWeights<float> weights;
  Matrix<float> labels;  // 1 x n
};

std::span<const std::byte> bytes_of(const Matrix<float>& matrix) {
  return std::as_bytes(std::span(matrix.data(), static_cast<std::size_t>(matrix.size())));
}

// Of all that training depends on besides its options.
std::string digest_of(const TrainingSet& set) {
  std::string digests;
  for (const std::string& file : set.files) digests += file + "\n";
  for (const WeightFeatures<float>& block : set.weights.blocks) {
    for_each_tensor(
        block, [&](const char*, const Matrix<float>& tensor) { digests += sha256(bytes_of(tensor)) + "\n"; });
  }
  for (const auto* matrix : {&set.weights.embedding, &set.weights.classifier, &set.labels}) {
    digests += sha256(bytes_of(*matrix)) + "\n";
  }
  return sha256(std::as_bytes(std::span(digests)));
}

TrainingSet read_training_set(const TrainOptions& options, std::vector<std::string> files,
                              const PredictorFile& predictor) {
  const std::vector<double> labels = read_labels(options.labels, files);
  TrainingSet set{std::move(files), {}, Matrix<float>(1, static_cast<Index>(labels.size()))};
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (predictor.options.loss == Loss::binary_cross_entropy && (labels[i] < 0 || labels[i] > 1))
      throw FormatError(options.labels.string() + ": the label of " + set.files[i] + " is " +
                        brief(labels[i]) + ", and loss bce needs labels from 0 to 1; see --loss mse");
    set.labels(static_cast<Index>(i)) = static_cast<float>(labels[i]);
  }
  set.weights = read_networks(options.folder, set.files, predictor.layout);
  return set;
}

PredictorFile new_predictor(const TrainOptions& options, const std::vector<std::string>& files) {
  NetworkLayout layout = network_layout_of(options.folder / files.front());
  TrainingOptions training = options.training;
  training.loss = options.loss == name_of(Loss::squared_error) ? Loss::squared_error : training.loss;
  Random random(training.seed);
  Predictor<float> network(layout.shape, options.channels, random, options.head_features);
  return {std::move(layout),
          options.channels,
          options.head_features,
          training,
          static_cast<Index>(files.size()),
          "",
          {std::move(network), training}};
}

void print_epoch(const PredictorFile& predictor, double loss, double rate) {
  std::printf("epoch %td of %td: loss %s, rate %s\n", predictor.trainer.epoch,
              predictor.options.schedule.epochs, brief(loss).c_str(), brief(rate).c_str());
  if (std::fflush(stdout) != 0) throw IoError("standard output could not be written");
}

// @return the losses of the epochs
std::vector<double> train(const TrainOptions& options, PredictorFile& predictor, const TrainingSet& set) {
  const RunTasks run = [&](std::size_t count, const std::function<void(std::size_t)>& task) {
    run_tasks(count, options.threads, task);
  };
  auto overwrite = options.force || options.resume ? Overwrite::Yes : Overwrite::No;
  std::vector<double> losses;
  while (!predictor.is_trained() && (options.stop_after == 0 || std::ssize(losses) < options.stop_after)) {
    const double rate = predictor.options.schedule.rate(predictor.trainer.epoch);
    losses.push_back(predictor.trainer.run_epoch(set.weights, set.labels, run));
    if (!std::isfinite(losses.back()) || !is_finite(predictor.trainer.network))
      throw Error("epoch " + std::to_string(predictor.trainer.epoch) +
                  ": loss or parameters are no longer finite; smaller labels or a lower --rate may help");
    write_file_atomically(options.model, serialize(predictor), overwrite);
    overwrite = Overwrite::Yes;  // of what this run has written
    if (!options.as_json) print_epoch(predictor, losses.back(), rate);
  }
  return losses;
}

void print_result(const TrainOptions& options, const PredictorFile& predictor,
                  const std::vector<double>& losses) {
  const Index parameters =
      Predictor<float>::parameter_count(predictor.layout.shape, predictor.channels, predictor.head_features);
  const Index done = predictor.trainer.epoch;
  const Index epochs = predictor.options.schedule.epochs;
  if (options.as_json) {
    const nlohmann::json object{{"schema", "attnsym.nfn-train/1"},
                                {"model", options.model.string()},
                                {"parameters", parameters},
                                {"checkpoints", predictor.checkpoints},
                                {"epochs", epochs},
                                {"epochs_done", done},
                                {"losses", losses}};
    print_object(object);
    return;
  }
  std::printf("%s: %td parameters, %td of %td epochs over %td checkpoints%s\n", options.model.c_str(),
              parameters, done, epochs, predictor.checkpoints, done < epochs ? "; --resume goes on" : "");
}

// Refuses a place for MODEL before hours of work, not after.
void require_place(const TrainOptions& options) {
  const bool replace = options.force || options.resume;
  require_evidence_place(options.model, replace, {options.folder, options.labels});
  const AtomicOutput checks_the_folder(options.model, replace ? Overwrite::Yes : Overwrite::No);
}

ExitStatus run_train(const TrainOptions& options) {
  require_place(options);
  std::vector<std::string> files = network_files(options.folder);
  PredictorFile predictor = options.resume ? read_predictor(options.model) : new_predictor(options, files);
  const TrainingSet set = read_training_set(options, std::move(files), predictor);
  const std::string data = digest_of(set);
  if (options.resume && data != predictor.data)
    throw FormatError(options.model.string() + ": was trained on other checkpoints or labels than those of " +
                      options.folder.string() + " and " + options.labels.string());
  if (predictor.checkpoints != set.weights.batch())
    throw FormatError(options.model.string() + ", training: 'checkpoints' is " +
                      std::to_string(predictor.checkpoints) + ", and there are " +
                      std::to_string(set.weights.batch()));
  predictor.data = data;
  const std::vector<double> losses = train(options, predictor, set);
  print_result(options, predictor, losses);
  return ExitStatus::yes;
}

constexpr const char* footer =
    "\nMODEL is written after every epoch, whole or not at all; a run that was interrupted goes on with "
    "--resume, and ends\n"
    "with the same bits as one that was not. The bits depend on the seed and not on --threads.";

// What a training that goes on has from its file.
void add_training_options(CLI::App& command, TrainOptions& options, CLI::Option& resume) {
  TrainingOptions& training = options.training;
  const auto add = [&](const char* name, auto& value, const char* what, const char* type) {
    return command.add_option(name, value, what)->type_name(type)->capture_default_str()->excludes(&resume);
  };
  const auto add_count = [&](const char* name, Index& value, const char* what, Index least, Index most) {
    add(name, value, what, "N")->check(CLI::Range(least, most));
  };
  using Limits = TrainingLimits;
  add_count("--epochs", training.schedule.epochs, "How often all checkpoints are seen", 1, Limits::most);
  add_count("--batch", training.batch, "Checkpoints per step", 1, Limits::most);
  add("--rate", training.schedule.peak, "The highest rate of Adam", "R")
      ->check(numbers_between(Limits::least_rate, Limits::most_rate));
  add("--last-rate", training.schedule.last, "Where the rate falls to, as half a cosine", "R")
      ->check(numbers_between(0, Limits::most_rate));
  add_count("--warmup", training.schedule.warmup, "Epochs in which the rate rises", 0, Limits::most);
  add("--loss", options.loss, "bce: of labels from 0 to 1, cross entropy; mse: of any, squared error", "LOSS")
      ->check(CLI::IsMember({"bce", "mse"}));
  add_count("--channels", options.channels, "Channels of the layers", 1, 4096);
  add_count("--per-head", options.head_features,
            "Features of every head by itself; 0: heads count by their sums only, as published", 0, 4096);
  add("--seed", training.seed, "Of the first parameters, and of the orders of checkpoints", "N")
      ->check(seeds());
}

}  // namespace

void setup_nfn_train(CLI::App& nfn, ExitStatus& status) {
  auto options = std::make_shared<TrainOptions>();
  CLI::App* command =
      nfn.add_subcommand("train", "Train the predictor of arXiv 2410.04209 on transformers with labels");
  command->add_option("DIR", options->folder, "The transformers")->required();
  command->add_option("--labels", options->labels, "Their labels")->type_name("CSV")->required();
  command->add_option("-o,--output", options->model, "The predictor to write, a .safetensors file")
      ->type_name("MODEL")
      ->required();
  CLI::Option* resume = command->add_flag("--resume", options->resume, "Go on with MODEL, as it was called");
  add_training_options(*command, *options, *resume);
  command->add_option("--stop-after", options->stop_after, "Stop after so many epochs; --resume goes on")
      ->type_name("N")
      ->check(CLI::Range(Index{1}, Index{1000000}));
  add_threads_option(*command, options->threads);
  command->add_flag("--force", options->force, "Replace MODEL if it exists")->excludes(resume);
  command->add_flag("--json", options->as_json, "Print one JSON object, at the end");
  command->footer(std::string(network_folder_help) + footer);
  command->callback([options, &status] { status = run_train(*options); });
}

}  // namespace attnsym
