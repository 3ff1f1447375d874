"""What classes of models make of the last hidden states: the outputs side by side, 0 at tokens that are not read."""

import numpy as np

from activations_numpy import ACTIVATIONS, gelu


def outputs(model, hidden, logits):
    """Of the class that `architectures` names; logits are those of the family's own head."""
    name = model.config["architectures"][0]
    return np.hstack([part for part in _parts(name, _Heads(model, hidden), logits) if part is not None])


def _parts(name, heads, logits):
    if name in ("BertForMaskedLM", "BertForPreTraining"):
        yield heads.words("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm",
                          "cls.predictions.decoder", "cls.predictions.bias")
    elif name == "RobertaForMaskedLM":
        yield heads.words("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias", gelu)
    elif name.endswith(("ForCausalLM", "LMHeadModel")):
        yield logits()
    elif name.endswith("Model"):
        yield heads.hidden
        yield heads.at(0, heads.pooled) if heads.has("pooler.dense.weight") else None
    if name == "BertForPreTraining":
        yield heads.at(0, lambda x: heads.linear("cls.seq_relationship", heads.pooled(x)))
    if name == "BertForSequenceClassification":
        yield heads.at(0, lambda x: heads.linear("classifier", heads.pooled(x)))
    elif name == "RobertaForSequenceClassification":
        yield heads.at(0, lambda x: heads.linear("classifier.out_proj", np.tanh(heads.linear("classifier.dense", x))))
    elif name == "ViTForImageClassification":
        yield heads.at(0, lambda x: heads.linear("classifier", x))
    elif name.endswith("ForSequenceClassification"):
        yield heads.at(-1, lambda x: heads.linear("score", x))
    elif name.endswith("ForTokenClassification"):
        yield heads.linear("score" if heads.has("score.weight") else "classifier", heads.hidden)
    elif name.endswith("ForQuestionAnswering"):
        yield heads.linear("qa_outputs", heads.hidden)


class _Heads:
    def __init__(self, model, hidden):
        self.config, self.tensors, self.hidden = model.config, model.tensors, hidden

    def has(self, end):
        return self._full(end) is not None

    def _full(self, end):
        return next((name for name in self.tensors.stored if name == end or name.endswith("." + end)), None)

    def at(self, row, read):
        part = read(self.hidden[row][None, :])
        result = np.zeros((len(self.hidden), part.shape[1]))
        result[row] = part[0]
        return result

    def linear(self, name, x):
        y = x @ self.tensors.numbers(self._full(name + ".weight")).T
        bias = self._full(name + ".bias")
        return y if bias is None else y + self.tensors.numbers(bias)

    def pooled(self, x):
        return np.tanh(self.linear("pooler.dense", x))

    def words(self, dense, norm, decoder, bias, activation=None):
        x = (activation or ACTIVATIONS[self.config["hidden_act"]])(self.linear(dense, self.hidden))
        x = x - x.mean(axis=1, keepdims=True)
        x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + self.config["layer_norm_eps"])
        x = x * self.tensors.numbers(norm + ".weight") + self.tensors.numbers(norm + ".bias")
        if not self.config.get("tie_word_embeddings", True):
            return self.linear(decoder, x)
        embedding = self.tensors.numbers(self._full("embeddings.word_embeddings.weight"))
        return x @ embedding.T + self.tensors.numbers(bias)
