"""Groups that make shared words a poor guide: what a cross-encoder must know and a keyword index cannot.

Translation pairs whose negatives are mostly the neighbouring sentences in the query's own language. (Negatives stuffed
with the query's words and positives thinned of them, tried before, are gone: see REPORT.md.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def translation_group(draw: random.Random, sentences: Sequence[tuple[str, str]], size: int) -> tuple[str, list[str]]:
    """A sentence, its translation, and negatives: neighbours in both languages and far sentences of the other."""
    place = draw.randrange(8, len(sentences) - 8)
    side = draw.randrange(2)
    near = [place + offset for offset in draw.sample([-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6], size - 3)]
    same = [sentences[i][side] for i in near[:-1]]
    other = [sentences[near[-1]][1 - side], *(draw.choice(sentences)[1 - side] for _ in range(2))]
    return sentences[place][side], [sentences[place][1 - side], *same, *other]
