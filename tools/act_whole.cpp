#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "tools/output.hpp"
#include "tools/unread.hpp"
#include "tools/whole_commands.hpp"

namespace attnsym {

ExitStatus act_on_whole(const RewriteOptions& options, const Model& model, std::uint64_t seed,
                        const TransformerSampleOptions& sample) {
  std::optional<TransformerElement> element;
  const WholeChange change{
      [&](const TransformerGroup& group, const StoredModel&, TransformerWeights<double> outside) {
        Random random(seed);
        element = group.sample(random, sample);
        if (sample.stream) outside = folded(group, Folding::ToRotate, std::move(outside));
        if (group.shifts_tables()) {
          outside.embedding.rowwise() += element->shift;
          outside.positions.rowwise() -= element->shift;
        }
        return act(element->stream, std::move(outside));
      },
      [&](const TransformerGroup& group, Index layer, StoredBlock block) {
        Block<double> moved = std::move(block.value);
        if (sample.stream) moved = folded(group, Folding::ToRotate, layer, std::move(moved));
        return act(*element, layer, moved);
      },
      sample.stream};
  const TransformerGroup group = rewrite_whole(options, model, "act", change);
  const std::vector<std::string> unread = unread_tensors(Unread::ByModel, {&model});
  if (options.as_json) {
    const nlohmann::json object{{"schema", "attnsym.act/1"},
                                {"output", options.out.string()},
                                {"scope", "model"},
                                {"seed", seed},
                                {"condition", sample.attention.condition},
                                {"group", group.describe()},
                                {"unread", unread}};
    print_object(object);
  } else {
    std::printf("%s: the whole model moved by a random group element, seed %llu\ngroup  %s\n",
                options.out.string().c_str(), static_cast<unsigned long long>(seed),
                group.describe().c_str());
    print_unread(unread);
  }
  return ExitStatus::yes;
}

}  // namespace attnsym
