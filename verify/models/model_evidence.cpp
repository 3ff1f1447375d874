#include "verify/models/model_evidence.hpp"

#include "verify/checker/certificate.hpp"
#include "verify/models/architecture.hpp"
#include "verify/models/model_pieces.hpp"

namespace attnsym {
namespace {

using Refutation = std::optional<std::string>;

// Of the kind that a matrix is.
std::optional<StreamTransport> transport_of(const Matrix<double>& q) {
  const Matrix<double> product = q.transpose() * q;
  if (!is_close(product, Matrix<double>::Identity(q.cols(), q.cols()), 1e3)) return std::nullopt;
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

Refutation refute_block(const ModelPieces& pieces, const ModelEvidence& evidence,
                        const TransformerConfig& config, Index layer) {
  const auto at = static_cast<std::size_t>(layer);
  const std::string where = "block " + std::to_string(layer) + ": ";
  const StoredAttention a = pieces.attention_of_a(layer);
  const StoredAttention b = pieces.attention_of_b(layer);
  if (const auto reason = refute_equivalence(a, b, evidence.attention[at]))
    return where + "attention: " + *reason;
  if (evidence_resolution(a, b, evidence.attention[at]) > coarsest_resolution)
    return where + "attention: the stored precision is too coarse to prove much";
  const MlpComparison mlp = compare_matched_mlps(config.mlp, pieces.mlp_of_a(layer), pieces.mlp_of_b(layer),
                                                 evidence.neurons[at], config.model_width);
  if (!mlp.agrees()) return where + "the neurons do not match";
  if (!pieces.compare_norms_behind(layer).agrees()) return where + "norms behind attention or MLP differ";
  return std::nullopt;
}

}  // namespace

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
  const auto stream = transport_of(evidence.stream);
  if (!stream) return "the change of basis of the stream is not orthogonal";
  const SeenModel seen_a(a);
  const SeenModel seen_b(b);
  if (seen_a.is_rigid() && stream->kind() == StreamTransport::Kind::Orthogonal)
    return "this stream allows signed permutations only";
  const RowVector<double> ones = RowVector<double>::Ones(config.model_width);
  const RowVector<double> image = ones * evidence.stream;
  if (config.norm == NormKind::Layer && !is_close(image, ones, 1e3) &&
      !is_close(RowVector<double>(-image), ones, 1e3))
    return "the change of basis of the stream does not keep the mean of a token";
  const ModelPieces pieces(seen_a, seen_b, *stream, outputs);
  for (const OuterComparison& outer : pieces.compare_outside()) {
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

Refutation refute_token_witness(const StoredModel& a, const StoredModel& b, const Tokens& tokens,
                                Outputs outputs) {
  const TokenWitness witness = measure_tokens(a, b, tokens, outputs, 0x636865636b);
  if (witness.strength() >= witness_factor_to_accept) return std::nullopt;
  return "on the tokens outputs are " + brief(witness.gap) + " apart, where rounding explains " +
         brief(witness.noise);
}

}  // namespace attnsym
