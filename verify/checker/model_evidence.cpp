#include "verify/checker/model_evidence.hpp"

#include "symmetry/random.hpp"
#include "verify/checker/certificate.hpp"
#include "verify/checker/model_pieces.hpp"
#include "verify/models/architecture.hpp"

namespace attnsym {
namespace {

using Refutation = std::optional<std::string>;

// |Q^T Q p - p| for some probes p is about the Frobenius norm of Q^T Q - 1.
bool is_orthogonal(const Matrix<double>& q) {
  const Matrix<double> probes = fixed_probe<double>(q.rows(), 8, 0x6f7274686f);
  return is_close(Matrix<double>(q.transpose() * (q * probes)), probes, 1e3);
}

Refutation refute_block(const ModelPieces& pieces, const ModelEvidence& evidence,
                        const TransformerConfig& config, Index layer) {
  const auto at = static_cast<std::size_t>(layer);
  const std::string where = "block " + std::to_string(layer) + ": ";
  const CheckedEquivalence attention =
      check_equivalence(pieces.attention_of_a(layer), pieces.attention_of_b(layer), evidence.attention[at]);
  if (attention.refutation) return where + "attention: " + *attention.refutation;
  if (attention.resolution > coarsest_resolution)
    return where + "attention: the stored precision is too coarse to prove much";
  const MlpComparison mlp =
      compare_matched_mlps(config.mlp, pieces.mlp_of_a(layer), pieces.mlp_of_b(layer), evidence.neurons[at],
                           config.model_width, pieces.mlp_rules(layer));
  if (!mlp.agrees()) return where + "the neurons do not match";
  if (!pieces.compare_norms(layer).agrees()) return where + "norms differ";
  return std::nullopt;
}

}  // namespace

std::optional<StreamTransport> stream_of(const Matrix<double>& q) {
  // In full: whoever made the matrix may know the probes.
  const Matrix<double> product = q.transpose() * q;
  if (!is_close(product, Matrix<double>::Identity(q.cols(), q.cols()), 1e3)) return std::nullopt;
  if (q == Matrix<double>::Identity(q.rows(), q.cols())) return StreamTransport::identity(q.rows());
  const StreamMove move{q};
  if (!move.is_signed_permutation()) return StreamTransport::orthogonal(q);
  std::vector<Index> image(static_cast<std::size_t>(q.rows()));
  RowVector<double> sign(q.rows());
  for (Index k = 0; k < q.rows(); ++k) {
    Index place = 0;
    q.row(k).cwiseAbs().maxCoeff(&place);
    image[static_cast<std::size_t>(k)] = place;
    sign(k) = q(k, place);
  }
  return StreamTransport::signed_permutation(Permutation::from_image(std::move(image)), std::move(sign));
}

Refutation refute_stream(const StoredModel& a, const StreamTransport& stream) {
  if (stream.kind() == StreamTransport::Kind::Identity) return std::nullopt;
  const TransformerConfig& config = a.config();
  if (stream.kind() == StreamTransport::Kind::Orthogonal && !is_orthogonal(stream.matrix()))
    return "the change of basis of the stream is not orthogonal";
  if (SeenModel(a).is_rigid() && stream.kind() == StreamTransport::Kind::Orthogonal)
    return "this stream allows signed permutations only";
  const RowVector<double> ones = RowVector<double>::Ones(config.model_width);
  const RowVector<double> image = stream.written({ones, RowVector<double>::Zero(config.model_width)}).value;
  if (config.norm == NormKind::Layer && !is_close(image, ones, 1e3) &&
      !is_close(RowVector<double>(-image), ones, 1e3))
    return "the change of basis of the stream does not keep the mean of a token";
  return std::nullopt;
}

Refutation refute_models(const StoredModel& a, const StoredModel& b, const ModelEvidence& evidence,
                         Outputs outputs, const RunTasks& run_tasks) {
  const TransformerConfig& config = a.config();
  if (const std::string apart = different_architecture(config, b.config()); !apart.empty())
    return "the architectures differ: " + apart;
  require_same_outputs(a, b, outputs);
  const auto blocks = static_cast<std::size_t>(config.blocks());
  if (evidence.stream.rows() != config.model_width || evidence.stream.cols() != config.model_width ||
      evidence.attention.size() != blocks || evidence.neurons.size() != blocks)
    return "the evidence is for another shape";
  const auto stream = stream_of(evidence.stream);
  if (!stream) return "the change of basis of the stream is not orthogonal";
  if (auto reason = refute_stream(a, *stream)) return reason;
  const ModelPieces pieces(a, b, *stream, outputs);
  for (const OuterComparison& outer : pieces.compare_outside(run_tasks)) {
    if (!outer.entries.agrees()) return outer.part + " differ by more than rounding explains";
  }
  std::vector<Refutation> refutations(blocks);
  run_tasks(blocks, [&](std::size_t layer) {
    refutations[layer] = refute_block(pieces, evidence, config, static_cast<Index>(layer));
  });
  for (Refutation& refutation : refutations) {
    if (refutation) return refutation;
  }
  return std::nullopt;
}

TokenWitness checked_tokens(const StoredModel& a, const StoredModel& b, const Tokens& tokens, Outputs outputs,
                            const RunTasks& run_tasks) {
  return measure_tokens(a, b, tokens, outputs, 0x636865636b, run_tasks);
}

Refutation refute_token_witness(const StoredModel& a, const StoredModel& b, const Tokens& tokens,
                                Outputs outputs, const RunTasks& run_tasks) {
  const TokenWitness witness = checked_tokens(a, b, tokens, outputs, run_tasks);
  if (witness.strength() >= witness_factor_to_accept) return std::nullopt;
  return "on the tokens outputs are " + brief(witness.gap) + " apart, where rounding explains " +
         brief(witness.noise);
}

}  // namespace attnsym
