"""The text that tokens stand for and back, with the tokenizer that lies beside a model."""

import json
import re
import struct
from pathlib import Path


def decoder(directory):
    """A function from tokens to text: with a tokenizer.json of one token per word, or with a tok*.bin of llama2.c,
    beside the model or one folder above; without either the text is the numbers."""
    directory = Path(directory).resolve()
    if _has_words(directory):
        return _words(directory)
    vocabularies = sorted([*directory.glob("tok*.bin"), *directory.parent.glob("tok*.bin")])
    return _pieces(vocabularies[0]) if vocabularies else _numbers


def encode(directory, text):
    """The tokens of a text, with a tokenizer.json of one token per word. ValueError names words that it lacks."""
    vocabulary, words = _tokenizer(directory)["model"]["vocab"], re.findall(r"\w+|[^\w\s]+", text)
    unknown = [word for word in words if word not in vocabulary]
    if unknown:
        raise ValueError("the tokenizer does not know " + ", ".join(unknown))
    return [vocabulary[word] for word in words]


def _tokenizer(directory):
    return json.loads((Path(directory) / "tokenizer.json").read_text())


def _has_words(directory):
    return (directory / "tokenizer.json").exists() and _tokenizer(directory)["model"]["type"] == "WordLevel"


def _numbers(tokens):
    return " ".join(map(str, tokens))


def _words(directory):
    tokenizer = _tokenizer(directory)
    words = {token: word for word, token in tokenizer["model"]["vocab"].items()}
    special = {added["id"] for added in tokenizer["added_tokens"]}

    def text(tokens):
        return re.sub(r" ([.,!?])", r"\1", " ".join(words[token] for token in tokens if token not in special))

    return text


def _pieces(path):
    """llama2.c: the longest length, then per token its score, its length and its bytes. Tokens 0 to 2 are special."""
    data, pieces, place = path.read_bytes(), [], 4
    while place < len(data):
        (length,) = struct.unpack_from("<i", data, place + 4)
        pieces.append(data[place + 8:place + 8 + length])
        place += 8 + length

    def text(tokens):
        spelled = b"".join(_byte(pieces[token]) for token in tokens if token > 2)
        return spelled.decode(errors="replace").lstrip(" ")

    return text


def _byte(piece):
    """<0x0A> stands for a byte."""
    named = re.fullmatch(rb"<0x([0-9A-F]{2})>", piece)
    return bytes([int(named[1], 16)]) if named else piece
