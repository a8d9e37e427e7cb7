"""Groups that make shared words a poor guide: what a cross-encoder must know and a keyword index cannot.

Three ways, all from data at hand: a negative stuffed with the query's words, a positive thinned of them, and
translation pairs whose negatives are the neighbouring sentences in the query's own language.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_PIECE = re.compile(r"[㐀-鿿]+|[A-Za-z0-9]+")
STUFFED_CHARACTERS = 160


def pieces(query: str) -> list[str]:
    """Words, and pairs of Han characters."""
    found = []
    for piece in _PIECE.findall(query):
        if piece[0] < "㐀":
            found.append(piece)
        else:
            found += [piece[i : i + 2] for i in range(0, len(piece), 2)]
    return found


def stuffed(draw: random.Random, query: str, passage: str) -> str:
    """The beginning of an unrelated passage with most of the query's words put in."""
    text = passage[: draw.randint(20, STUFFED_CHARACTERS)]
    words = [word for word in pieces(query) if draw.random() < 0.8]
    draw.shuffle(words)
    for word in words:
        at = draw.randrange(len(text) + 1)
        while 0 < at < len(text) and text[at].isascii() and text[at].isalpha():
            at += 1  # not inside a word
        text = f"{text[:at]}{word}{text[at:]}" if word[0] >= "㐀" else f"{text[:at]} {word} {text[at:]}"
    return text


def thinned(draw: random.Random, query: str, passage: str) -> str:
    """The passage without some of the words that it shares with the query."""
    for word in set(pieces(query)):
        if len(word) > 1 and draw.random() < 0.6:
            passage = passage.replace(word, "")
    return passage


def translation_group(draw: random.Random, sentences: Sequence[tuple[str, str]], size: int) -> tuple[str, list[str]]:
    """A sentence, its translation, and negatives: neighbours in both languages and far sentences of the other."""
    place = draw.randrange(8, len(sentences) - 8)
    side = draw.randrange(2)
    near = [place + offset for offset in draw.sample([-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6], size - 3)]
    same = [sentences[i][side] for i in near[:-1]]
    other = [sentences[near[-1]][1 - side], *(draw.choice(sentences)[1 - side] for _ in range(2))]
    return sentences[place][side], [sentences[place][1 - side], *same, *other]
