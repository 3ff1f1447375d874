"""The lower-casing WordPiece tokenizer of BERT, from vocab.txt."""

import unicodedata


def load_vocabulary(path):
    with open(path, encoding="utf-8") as file:
        return {line.rstrip("\n"): number for number, line in enumerate(file)}


def token_ids(sentence, vocabulary, limit=256):
    """[CLS] pieces [SEP], cut to `limit` tokens."""
    pieces = [piece for word in split_words(sentence) for piece in split_pieces(word, vocabulary)]
    return [vocabulary[token] for token in ["[CLS]", *pieces[: limit - 2], "[SEP]"]]


def split_words(sentence):
    """Lower case, no accents, no control characters; punctuation and Chinese characters stand alone."""
    spaced = "".join(_spaced(char) for char in sentence)
    bare = unicodedata.normalize("NFD", spaced.lower())
    bare = "".join(char for char in bare if unicodedata.category(char) != "Mn")
    return "".join(f" {char} " if _is_punctuation(char) else char for char in bare).split()


def split_pieces(word, vocabulary):
    """Longest match first; a word with no such split is unknown."""
    pieces, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if mark + word[start:end] in vocabulary), None)
        if end is None or len(word) > 100:
            return ["[UNK]"]
        pieces.append(mark + word[start:end])
        start = end
    return pieces


def _spaced(char):
    if char in "\t\n\r" or unicodedata.category(char) == "Zs":
        return " "
    if char in "\0\ufffd" or unicodedata.category(char).startswith("C"):
        return ""
    return f" {char} " if _is_chinese(char) else char


def _is_punctuation(char):
    ascii_symbol = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return ascii_symbol or unicodedata.category(char).startswith("P")


def _is_chinese(char):
    code = ord(char)
    return (0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0xF900 <= code <= 0xFAFF
            or 0x20000 <= code <= 0x2CEAF or 0x2F800 <= code <= 0x2FA1F)
