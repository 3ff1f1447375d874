// Layout slips [N11]: planted by hand on modules of four families, alone and in pairs, and named.
#include <gtest/gtest.h>

#include <set>

#include "symmetry/symmetry_group.hpp"
#include "tests/support/attention_kinds.hpp"
#include "tests/support/random_module.hpp"
#include "verify/slips/find_slips.hpp"

namespace attnsym {
namespace {

using testing::bf16;
using testing::random_weights;
using testing::stored;
using testing::with_biases;
using testing::with_norms;
using testing::with_rotary;

const std::vector<double> eight{1.0, 0.5, 0.25, 0.125};

AttentionConfig llama() { return with_rotary(AttentionConfig{32, 4, 2, 8, 8}, eight); }
AttentionConfig neox() { return with_rotary(with_biases(AttentionConfig{32, 4, 4, 8, 8}), {1.0, 0.3}); }
AttentionConfig falcon() { return with_rotary(AttentionConfig{24, 6, 2, 8, 8}, eight); }
AttentionConfig gpt2() { return with_biases(AttentionConfig{32, 4, 4, 8, 8}); }

// The slip of the module, and some words of its name.
struct Planted {
  std::string words;
  void (*plant)(StoredAttention& module);
  bool in_any_basis = true;
};

// Entry k of every head's query, key or bias comes from entry from(k).
template <class Matrices>
void permute(const Matrices& matrices, Index (*from)(Index k, Index count), Index count) {
  for (auto* m : matrices) {
    const auto old = *m;
    for (Index k = 0; k < count; ++k) m->col(k) = old.col(from(k, count));
  }
}

Index interleaved_from(Index k, Index count) { return k % 2 == 0 ? k / 2 : count / 2 + k / 2; }

template <class Visit>
void for_both(StoredAttention& module, Visit visit) {
  visit(module.weights);
  visit(module.radius);
}

// In which order a module's columns lie when its pairs are interleaved.
void interleave_queries(StoredAttention& m) {
  for_both(m, [&](AttentionWeights<double>& w) {
    for (auto& group : w.groups)
      for (auto& reader : group.readers) {
        permute(std::vector<Matrix<double>*>{&reader.query}, interleaved_from, 2 * m.config.rotary.pairs());
        if (reader.query_bias.size() > 0)
          permute(std::vector<RowVector<double>*>{&reader.query_bias}, interleaved_from,
                  2 * m.config.rotary.pairs());
      }
  });
}

void interleave_keys(StoredAttention& m) {
  for_both(m, [&](AttentionWeights<double>& w) {
    for (auto& group : w.groups) {
      permute(std::vector<Matrix<double>*>{&group.key}, interleaved_from, 2 * m.config.rotary.pairs());
      if (group.key_bias.size() > 0)
        permute(std::vector<RowVector<double>*>{&group.key_bias}, interleaved_from,
                2 * m.config.rotary.pairs());
    }
  });
}

void interleave(StoredAttention& m) {
  interleave_queries(m);
  interleave_keys(m);
}

// The rows of q, k and v under each other, as files have them.
std::vector<Matrix<double>> stacked_rows(const AttentionWeights<double>& w) {
  std::vector<Matrix<double>> blocks[3];
  const auto with_bias = [](const Matrix<double>& weight, const RowVector<double>& bias) {
    Matrix<double> rows(weight.cols(), weight.rows() + bias.size() / weight.cols());
    rows.leftCols(weight.rows()) = weight.transpose();
    if (bias.size() > 0) rows.rightCols(1) = bias.transpose();
    return rows;
  };
  for (const auto& group : w.groups) {
    for (const auto& reader : group.readers) blocks[0].push_back(with_bias(reader.query, reader.query_bias));
    blocks[1].push_back(with_bias(group.key, group.key_bias));
    blocks[2].push_back(with_bias(group.value, group.value_bias));
  }
  std::vector<Matrix<double>> all;
  for (auto& part : blocks) all.insert(all.end(), part.begin(), part.end());
  return all;
}

void set_rows(AttentionWeights<double>& w, const std::vector<Matrix<double>>& blocks) {
  auto next = blocks.begin();
  const auto take = [&](Matrix<double>& weight, RowVector<double>& bias) {
    weight = next->leftCols(weight.rows()).transpose();
    if (bias.size() > 0) bias = next->rightCols(1).transpose();
    ++next;
  };
  for (auto& group : w.groups)
    for (auto& reader : group.readers) take(reader.query, reader.query_bias);
  for (auto& group : w.groups) take(group.key, group.key_bias);
  for (auto& group : w.groups) take(group.value, group.value_bias);
}

// Stored group by group and read as blocks: block i of [q.. k.. v..] is block i of [q.. k v, q.. k v].
void fuse_by_group(StoredAttention& m) {
  for_both(m, [&](AttentionWeights<double>& w) {
    const std::vector<Matrix<double>> rows = stacked_rows(w);
    const Index h = m.config.heads;
    const Index g = m.config.groups;
    const Index r = m.config.readers_per_group();
    std::vector<Matrix<double>> read;
    for (Index j = 0; j < g; ++j) {
      for (Index i = 0; i < r; ++i) read.push_back(rows[r * j + i]);
      read.push_back(rows[h + j]);
      read.push_back(rows[h + g + j]);
    }
    set_rows(w, read);
  });
}

void transpose(Matrix<double>& weight, const std::vector<Matrix<double>*>& heads) {
  Matrix<double> all(weight.rows(), weight.cols() * static_cast<Index>(heads.size()));
  for (std::size_t i = 0; i < heads.size(); ++i)
    all.middleCols(weight.cols() * static_cast<Index>(i), weight.cols()) = *heads[i];
  all.transposeInPlace();
  for (std::size_t i = 0; i < heads.size(); ++i)
    *heads[i] = Matrix<double>(all.middleCols(weight.cols() * static_cast<Index>(i), weight.cols()));
}

void transpose_queries(StoredAttention& m) {
  for_both(m, [](AttentionWeights<double>& w) {
    std::vector<Matrix<double>*> heads;
    for (auto& group : w.groups)
      for (auto& reader : group.readers) heads.push_back(&reader.query);
    const Matrix<double> shape = *heads.front();
    Matrix<double> one = shape;
    transpose(one, heads);
  });
}

void transpose_keys(StoredAttention& m) {
  for_both(m, [](AttentionWeights<double>& w) {
    std::vector<Matrix<double>*> heads;
    for (auto& group : w.groups) heads.push_back(&group.key);
    Matrix<double> one = *heads.front();
    transpose(one, heads);
  });
}

void transpose_values(StoredAttention& m) {
  for_both(m, [](AttentionWeights<double>& w) {
    std::vector<Matrix<double>*> heads;
    for (auto& group : w.groups) heads.push_back(&group.value);
    Matrix<double> one = *heads.front();
    transpose(one, heads);
  });
}

void transpose_outputs(StoredAttention& m) {
  for_both(m, [](AttentionWeights<double>& w) {
    std::vector<Matrix<double>> turned;
    for (auto& group : w.groups)
      for (auto& reader : group.readers) turned.emplace_back(reader.output.transpose());
    std::vector<Matrix<double>*> heads;
    for (Matrix<double>& one : turned) heads.push_back(&one);
    Matrix<double> one = turned.front();
    transpose(one, heads);
    auto next = turned.begin();
    for (auto& group : w.groups)
      for (auto& reader : group.readers) reader.output = (next++)->transpose();
  });
}

void deal_readers(StoredAttention& m) {
  for_both(m, [&](AttentionWeights<double>& w) {
    std::vector<QueryHead<double>> heads;
    for (const auto& group : w.groups) heads.insert(heads.end(), group.readers.begin(), group.readers.end());
    // Head i of the file reads group i mod g: the n-th reader of group j is head n g + j.
    std::vector<QueryHead<double>> stored_heads(heads.size());
    const Index r = m.config.readers_per_group();
    for (Index j = 0; j < m.config.groups; ++j)
      for (Index n = 0; n < r; ++n) stored_heads[n * m.config.groups + j] = heads[j * r + n];
    auto next = stored_heads.begin();
    for (auto& group : w.groups)
      for (auto& reader : group.readers) reader = *next++;
  });
}

// K put into interleaved order as if there were as many key heads as query heads, in a model of such pairs.
void order_keys_as_queries(StoredAttention& m) {
  for_both(m, [&](AttentionWeights<double>& w) {
    const Index width = m.config.key_width / m.config.readers_per_group();
    for (auto& group : w.groups) {
      const Matrix<double> right = group.key;
      Matrix<double> halves = right;  // as the source had them: pair p in columns p and p + dk/2
      const Index half = right.cols() / 2;
      for (Index p = 0; p < half; ++p) {
        halves.col(p) = right.col(2 * p);
        halves.col(half + p) = right.col(2 * p + 1);
      }
      for (Index k = 0; k < right.cols(); ++k) {
        const Index block = k / width * width;
        group.key.col(k) = halves.col(block + interleaved_from(k - block, width));
      }
    }
  });
}

std::vector<Planted> settings() {
  return {{"scale 1/sqrt(head width) is applied twice",
           [](StoredAttention& m) {
             for_both(m, [](auto& w) {
               for (auto& group : w.groups) group.key /= std::sqrt(8.0);
               for (auto& group : w.groups) group.key_bias /= std::sqrt(8.0);
             });
           }},
          {"scale 1/sqrt(head width) is missing",
           [](StoredAttention& m) {
             for_both(m, [](auto& w) {
               for (auto& group : w.groups) group.key *= std::sqrt(8.0);
               for (auto& group : w.groups) group.key_bias *= std::sqrt(8.0);
             });
           }},
          {"another scale of scores is configured", [](StoredAttention& m) { m.config.scale *= 3; }},
          {"a causal mask is configured", [](StoredAttention& m) { m.config.causal = !m.config.causal; }}};
}

std::vector<Planted> rotary_slips() {
  return {{"rotary pairs are interleaved where half-split", interleave},
          {"another rotary base", [](StoredAttention& m) {
             for (std::size_t p = 0; p < m.config.rotary.frequencies.size(); ++p)
               m.config.rotary.frequencies[p] = std::pow(3.0, -static_cast<double>(p));
           }}};
}

std::vector<Planted> orders() {
  return {{"heads are in another order than those of the other projections",
           [](StoredAttention& m) {
             for_both(m, [](auto& w) {
               std::swap(w.groups.front().readers.front().output, w.groups.back().readers.back().output);
             });
           }},
          {"heads are in another order than those of the other projections", [](StoredAttention& m) {
             for_both(m, [](auto& w) { std::swap(w.groups.front().value, w.groups.back().value); });
             for_both(m, [](auto& w) { std::swap(w.groups.front().value_bias, w.groups.back().value_bias); });
           }}};
}

template <class... Lists>
std::vector<Planted> joined(const Lists&... lists) {
  std::vector<Planted> all;
  (all.insert(all.end(), lists.begin(), lists.end()), ...);
  return all;
}

struct Family {
  std::string name;
  AttentionConfig config;
  std::vector<Planted> slips;
};

std::vector<Family> families() {
  const std::vector<Planted> grouped{
      {"belongs to key/value group i mod g", deal_readers},
      {"in the order queries, key and value of each group; all queries", fuse_by_group},
      {"rotary pairs are interleaved", interleave_keys}};
  const std::vector<Planted> transposes{{"stored transposed", transpose_queries},
                                        {"stored transposed", transpose_outputs}};
  const std::vector<Planted> exchanges{
      {"queries and keys are exchanged",
       [](StoredAttention& m) {
         for_both(m, [](auto& w) {
           for (auto& group : w.groups) {
             std::swap(group.key, group.readers[0].query);
             std::swap(group.key_bias, group.readers[0].query_bias);
           }
         });
       }},
      {"keys and values are exchanged",
       [](StoredAttention& m) {
         for_both(m, [](auto& w) {
           for (auto& group : w.groups) {
             std::swap(group.key, group.value);
             std::swap(group.key_bias, group.value_bias);
           }
         });
       }},
      {"in the order queries, key and value of each group; all queries", fuse_by_group},
      {"stored transposed", transpose_keys}};
  // Lost numbers cannot be had back in another basis.
  const std::vector<Planted> lost{
      {"the bias was lost",
       [](StoredAttention& m) {
         for_both(m, [](auto& w) {
           for (auto& group : w.groups)
             for (auto& reader : group.readers) reader.query_bias.setZero();
         });
       },
       false},
      {"the bias was lost", [](StoredAttention& m) { for_both(m, [](auto& w) { w.output_bias.setZero(); }); },
       false}};
  const std::vector<Planted> biases_left{{"but not in the biases", [](StoredAttention& m) {
                                            StoredAttention before = m;
                                            interleave(m);
                                            for (auto [to, from] : {std::pair{&m.weights, &before.weights},
                                                                    std::pair{&m.radius, &before.radius}}) {
                                              for (std::size_t j = 0; j < to->groups.size(); ++j) {
                                                to->groups[j].key_bias = from->groups[j].key_bias;
                                                for (std::size_t i = 0; i < to->groups[j].readers.size(); ++i)
                                                  to->groups[j].readers[i].query_bias =
                                                      from->groups[j].readers[i].query_bias;
                                              }
                                            }
                                          }}};
  return {{"llama", llama(), joined(settings(), orders(), rotary_slips(), grouped, transposes)},
          {"neox", neox(),
           joined(settings(), lost, orders(), rotary_slips(), biases_left, exchanges, transposes)},
          {"falcon", falcon(), joined(settings(), orders(), rotary_slips(), grouped)},
          {"gpt2", gpt2(),
           joined(settings(), lost, orders(), exchanges, transposes,
                  std::vector<Planted>{{"stored transposed", [](StoredAttention& m) {
                                          transpose_queries(m);
                                          transpose_keys(m);
                                          transpose_values(m);
                                          transpose_outputs(m);
                                        }}})}};
}

std::set<std::string> texts(const std::optional<std::vector<Slip>>& slips) {
  std::set<std::string> all;
  for (const Slip& slip : slips.value_or(std::vector<Slip>())) all.insert(slip.text);
  return all;
}

std::string joined_texts(const std::optional<std::vector<Slip>>& slips) {
  std::string all;
  for (const Slip& slip : slips.value_or(std::vector<Slip>())) all += "[" + slip.text + "]";
  return all;
}

bool mentions(const std::optional<std::vector<Slip>>& slips, const std::string& words) {
  for (const std::string& text : texts(slips))
    if (text.find(words) != std::string::npos) return true;
  return false;
}

StoredAttention random_module(const AttentionConfig& c, std::uint64_t seed) {
  return stored(c, random_weights<double>(c, seed), bf16);
}

StoredAttention another_basis(const StoredAttention& module) {
  Random random(11);
  SampleOptions options;
  options.condition = 3;
  return stored(module.config,
                act(symmetry_of(module.config).sample<double>(random, options), module.weights), bf16);
}

TEST(Slips, AreNamedOnEveryFamily) {
  for (const Family& family : families()) {
    const StoredAttention a = random_module(family.config, 6);
    for (const Planted& planted : family.slips) {
      for (const bool moved : {false, true}) {
        if (moved && !planted.in_any_basis) continue;
        StoredAttention b = moved ? another_basis(a) : a;
        planted.plant(b);
        const auto found = find_slips(a, b);
        ASSERT_TRUE(found.has_value()) << family.name << ": " << planted.words;
        EXPECT_EQ(found->size(), 1U) << family.name << ": " << planted.words << joined_texts(found);
        EXPECT_TRUE(mentions(found, planted.words))
            << family.name << ": " << planted.words << joined_texts(found);
      }
    }
  }
}

// Conversions that know of no biases of queries, keys and values lose all three.
TEST(Slips, LostBiasesAreNamedTogether) {
  for (const AttentionConfig& config : {neox(), gpt2()}) {
    const StoredAttention a = random_module(config, 6);
    StoredAttention b = a;
    for_both(b, [](auto& w) {
      for (auto& group : w.groups) {
        group.key_bias.setZero();
        group.value_bias.setZero();
        for (auto& reader : group.readers) reader.query_bias.setZero();
      }
    });
    EXPECT_TRUE(find_slips(a, b).has_value());
    if (config.rotary.pairs() == 0) continue;  // there the key bias is free, and two losses explain it
    EXPECT_TRUE(mentions(find_slips(a, b), "the biases were lost"));
  }
}

// Two scales may cancel, two exchanges are one cycle that other exchanges make as well, and what happens to
// pairs once in weights and twice in them happens once in biases.
bool have_other_names(const std::string& x, const std::string& y) {
  for (const char* kind : {"scale 1/sqrt", "are exchanged"})
    if (x.find(kind) != std::string::npos && y.find(kind) != std::string::npos) return true;
  return x == y || (x == "but not in the biases" && y.find("interleaved") != std::string::npos);
}

TEST(Slips, ArePairedOnEveryFamily) {
  for (const Family& family : families()) {
    const StoredAttention a = random_module(family.config, 6);
    for (std::size_t i = 0; i < family.slips.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (have_other_names(family.slips[i].words, family.slips[j].words)) continue;
        StoredAttention b = a;
        family.slips[j].plant(b);
        family.slips[i].plant(b);
        const auto found = find_slips(a, b);
        const std::string what = family.name + ": " + family.slips[i].words + " + " + family.slips[j].words;
        ASSERT_TRUE(found.has_value()) << what;
        EXPECT_TRUE(mentions(found, family.slips[i].words) && mentions(found, family.slips[j].words))
            << what << joined_texts(found);
      }
    }
  }
}

TEST(Slips, AreNotNamedOnUnrelatedModules) {
  for (const Family& family : families()) {
    const StoredAttention a = random_module(family.config, 6);
    EXPECT_FALSE(find_slips(a, random_module(family.config, 7)).has_value()) << family.name;
    StoredAttention b = a;  // nearly A
    b.weights.groups[0].key(1, 1) += 1;
    EXPECT_FALSE(find_slips(a, b).has_value()) << family.name;
  }
}

// To undo what was never done explains nothing, nor does a slip that is a symmetry.
TEST(Slips, AreNotNamedOnEqualModules) {
  for (const Family& family : families()) {
    StoredAttention a = random_module(family.config, 6);
    EXPECT_FALSE(find_slips(a, a).has_value()) << family.name;
    for_each_slot(a.weights, [](auto& slot) { slot.setZero(); });  // no slip changes these
    EXPECT_FALSE(find_slips(a, a).has_value()) << family.name;
  }
}

TEST(Slips, KeysOrderedAsQueriesAreNamed) {
  AttentionConfig c = llama();
  c.rotary.layout = PairLayout::Interleaved;
  const StoredAttention a = random_module(c, 6);
  StoredAttention b = a;
  order_keys_as_queries(b);
  EXPECT_TRUE(mentions(find_slips(a, b), "as if there were as many key heads as query heads"));
}

TEST(Slips, OfNormsAreNamed) {
  const AttentionConfig c = with_norms(llama(), 1e-3);
  const StoredAttention a = random_module(c, 6);
  StoredAttention b = a;
  b.weights.query_gain.array() -= 1;
  b.weights.key_gain.array() -= 1;
  EXPECT_TRUE(mentions(find_slips(a, b), "stored less one and read as they are"));
  b = a;
  b.config.qk_norm->epsilon = 0.1;
  EXPECT_TRUE(mentions(find_slips(a, b), "another epsilon"));
}

}  // namespace
}  // namespace attnsym
