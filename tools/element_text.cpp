#include "tools/element_text.hpp"

#include <sstream>

namespace attnsym {
namespace {

void show(std::ostream& out, const std::string& name, const Permutation& order) {
  if (order == identity_like(order)) return;
  out << '\n' << name << " go to";
  for (const Index place : order.image()) out << ' ' << place;
}

void show(std::ostream& out, const std::string& name, const GeneralLinear<double>& gauge) {
  if (!(gauge == identity_like(gauge))) out << '\n' << name << " =\n" << gauge.matrix();
}

void show(std::ostream& out, const std::string& name, const RowVector<double>& shift) {
  if (!shift.isZero(0)) out << '\n' << name << " = " << shift;
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const BlockShape& shape) {
  return out << "D " << shape.model_width << ", " << shape.heads << " heads, Dk " << shape.key_width
             << ", Dv " << shape.value_width << ", DA " << shape.hidden_width;
}

std::ostream& operator<<(std::ostream& out, const AttentionConfig& config) {
  out << "D " << config.model_width << ", " << config.heads << " heads in " << config.groups << " groups, Dk "
      << config.key_width << ", Dv " << config.value_width << ", biases:";
  if (config.query_bias) out << " query";
  if (config.key_bias) out << " key";
  if (config.value_bias) out << " value";
  if (config.output_bias) out << " output";
  return out << (config.query_bias || config.key_bias || config.value_bias || config.output_bias ? ""
                                                                                                 : " none");
}

std::string text_of(const BlockElement<double>& element) {
  std::ostringstream out;
  out << "the identity but for";
  const auto& heads = head_moves(element);
  show(out, "heads", heads.top);
  for (std::size_t i = 0; i < heads.local.size(); ++i) {
    show(out, "QK gauge of head " + std::to_string(i), heads.local[i].first);
    show(out, "VO gauge of head " + std::to_string(i), heads.local[i].second);
  }
  show(out, "P_D: coordinates", model_order(element));
  show(out, "P_DA: hidden units", hidden_order(element));
  return out.str();
}

std::string text_of(const AttentionElement<double>& element) {
  std::ostringstream out;
  out << "the identity but for";
  show(out, "groups", element.top);
  for (std::size_t j = 0; j < element.local.size(); ++j) {
    const GroupMove<double>& move = element.local[j];
    const std::string where = " of group " + std::to_string(j);
    show(out, "readers" + where, reader_order(move));
    show(out, "QK gauge" + where, qk_gauge(move).linear);
    show(out, "key shift" + where, qk_gauge(move).shift);
    show(out, "VO gauge" + where, vo_gauge(move).linear);
    show(out, "value shift" + where, vo_gauge(move).shift);
  }
  return out.str();
}

}  // namespace attnsym
