#include "checkpoint/checkpoint_neurons.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "checkpoint/tensor_checks.hpp"

namespace attnsym {
namespace {

// rows x columns words to columns x rows, in squares that stay in a processor's first cache.
template <std::size_t Word>
void transpose_words(const std::byte* in, std::byte* out, Index rows, Index columns) {
  constexpr Index square = 32;
  for (Index row = 0; row < rows; row += square) {
    const Index rows_end = std::min(row + square, rows);
    for (Index column = 0; column < columns; column += square) {
      const Index columns_end = std::min(column + square, columns);
      for (Index k = column; k < columns_end; ++k) {
        for (Index i = row; i < rows_end; ++i)
          std::memcpy(out + (k * rows + i) * Word, in + (i * columns + k) * Word, Word);
      }
    }
  }
}

std::vector<std::byte> transposed(std::span<const std::byte> numbers, std::size_t word, Index rows,
                                  Index columns) {
  std::vector<std::byte> result(numbers.size());
  const auto transpose = word == 2 ? transpose_words<2> : word == 4 ? transpose_words<4> : transpose_words<8>;
  transpose(numbers.data(), result.data(), rows, columns);
  return result;
}

// The numbers of a weight, a line of D for every neuron.
class NeuronLines {
 public:
  // @param first  the first neuron's place in the tensor @param across  whether tensor rows cross all neurons
  NeuronLines(const StoredTensor& tensor, Index first, bool across, Index length, Radii radii)
      : tensor_(tensor), first_(first), across_(across), length_(length), radii_(radii) {
    if (!across) return;
    const Index lines = tensor.info->shape[1];
    if (is_readable_block(tensor.info->dtype)) {
      decode_across(lines);
    } else {
      words_ = transposed(tensor.bytes(), size_of(tensor.info->dtype), length, lines);
    }
    tensor.file->done_with(*tensor.info);
  }

  // The mapped pages of the tensor are no longer needed.
  void done() const { tensor_.file->done_with(*tensor_.info); }

  // @param columns  at least D rows; what is below these stays as it is
  void read(std::span<const Index> which, StoredMatrix& columns) const {
    for (std::size_t i = 0; i < which.size(); ++i) {
      const auto column = static_cast<Index>(i);
      read_line(first_ + which[i], columns.value.col(column).data(), columns.radius.col(column).data());
    }
  }

 private:
  // Blocks of quantised numbers cannot be taken apart, so these are decoded at once.
  void decode_across(Index lines) {
    decoded_ = {Matrix<double>(length_, lines), Matrix<double>(length_, lines)};
    RowVector<double> numbers(lines);
    RowVector<double> errors(lines);
    const auto size = static_cast<std::size_t>(lines);
    for (Index row = 0; row < length_; ++row) {
      read_numbers(tensor_, static_cast<std::size_t>(row) * size, {numbers.data(), size},
                   {errors.data(), size}, radii_);
      require_finite(tensor_, row * lines, {numbers.data(), size}, "stored");
      decoded_.value.row(row) = numbers;
      decoded_.radius.row(row) = errors;
    }
  }

  void read_line(Index line, double* numbers, double* errors) const {
    const auto size = static_cast<std::size_t>(length_);
    if (decoded_.value.size() > 0) {
      std::copy_n(decoded_.value.col(line).data(), size, numbers);
      std::copy_n(decoded_.radius.col(line).data(), size, errors);
      return;
    }
    const auto offset = static_cast<std::size_t>(line) * size;
    if (across_) {
      read_numbers(tensor_.info->dtype, words_, offset, {numbers, size}, {errors, size});
      require_finite_across(line, numbers);
    } else {
      read_numbers(tensor_, offset, {numbers, size}, {errors, size}, radii_);
      require_finite(tensor_, line * length_, {numbers, size}, "stored");
    }
  }

  void require_finite_across(Index line, const double* numbers) const {
    if (all_finite({numbers, static_cast<std::size_t>(length_)})) return;
    const Index lines = tensor_.info->shape[1];
    for (Index row = 0; row < length_; ++row)
      require_finite(tensor_, row * lines + line, {numbers + row, 1}, "stored");
  }

  StoredTensor tensor_;
  Index first_;
  bool across_;
  Index length_;
  Radii radii_;
  std::vector<std::byte> words_;  // the tensor, transposed
  StoredMatrix decoded_;          // the same of quantised numbers
};

// What neurons read, with their biases.
class NeuronInputs {
 public:
  NeuronInputs(const LinearTensors& tensors, Index first, const StoredMlpLayout& layout)
      : width_(layout.model_width),
        lines_(tensors.weight, first, layout.transposed, layout.model_width, layout.radii),
        bias_{Matrix<double>::Zero(1, layout.count), Matrix<double>::Zero(1, layout.count)} {
    if (!tensors.bias) return;
    const auto size = static_cast<std::size_t>(layout.count);
    read_numbers(*tensors.bias, static_cast<std::size_t>(first), {bias_.value.data(), size},
                 {bias_.radius.data(), size}, layout.radii);
    require_finite(*tensors.bias, first, {bias_.value.data(), size}, "stored");
  }

  void done() const { lines_.done(); }

  StoredMatrix read(std::span<const Index> which) const {
    const auto count = static_cast<Index>(which.size());
    StoredMatrix columns{Matrix<double>(width_ + 1, count), Matrix<double>(width_ + 1, count)};
    lines_.read(which, columns);
    columns.value.row(width_) = bias_.value(0, which);
    columns.radius.row(width_) = bias_.radius(0, which);
    return columns;
  }

 private:
  Index width_;
  NeuronLines lines_;
  StoredMatrix bias_;
};

class CheckpointNeurons : public NeuronReader {
 public:
  CheckpointNeurons(const MlpTensors& tensors, const StoredMlpLayout& layout)
      : layout_(layout),
        up_(tensors.up, layout.packed ? layout.count : 0, layout),
        down_(tensors.down.weight, 0, !layout.transposed, layout.model_width, layout.radii) {
    if (tensors.gate) gate_.emplace(*tensors.gate, 0, layout);
  }

  ~CheckpointNeurons() override {
    up_.done();
    down_.done();
    if (gate_) gate_->done();
  }

  Index count() const override { return layout_.count; }

  StoredNeurons read(std::span<const Index> which) const override {
    const auto count = static_cast<Index>(which.size());
    const Index width = layout_.model_width;
    StoredMatrix down{Matrix<double>(width, count), Matrix<double>(width, count)};
    down_.read(which, down);
    return {gate_ ? gate_->read(which) : StoredMatrix{}, up_.read(which), std::move(down)};
  }

 private:
  StoredMlpLayout layout_;
  NeuronInputs up_;
  std::optional<NeuronInputs> gate_;
  NeuronLines down_;
};

}  // namespace

std::unique_ptr<NeuronReader> checkpoint_neurons(const MlpTensors& tensors, const StoredMlpLayout& layout) {
  return std::make_unique<CheckpointNeurons>(tensors, layout);
}

}  // namespace attnsym
