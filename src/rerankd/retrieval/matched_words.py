"""Places in a text where the words of a query occur, for readers; how a model reads the text is another matter."""

from __future__ import annotations

import re
from functools import cache

from rerankd._common.text import is_unspaced, normalized, visible_positions
from rerankd.retrieval.keywords import keywords, word_runs

# Words that occur everywhere: marked, they would hide the others.
_COMMON = frozenset(
    re.split(
        r"\s+",
        "a an and are as at be by can do does for from has have how i in is it its me my of on or so that the their "
        "there this to was we were what when where which who why will with you your "
        "什么 怎么 如何 为何 哪些 哪个 哪里 多少 多久 是否 可以 这个 那个 我们 你们 他们",
    )
)
_PARTICLES = frozenset("的了是吗呢吧啊么之在和与或及")


class QueryWords:
    """The words of a query, to be found in texts.

    Of scripts without spaces two neighbouring characters count as a word, since single ones occur everywhere; a single
    character counts where the query has it by itself. Words that occur everywhere count only if there are no others.

    Args:
        query: the query.

    Example:
        >>> QueryWords("how long is the warranty").spans("The Warranty lasts two years.")
        [(4, 12)]
        >>> QueryWords("手机的保修期").spans("这款手机保修两年")
        [(2, 6)]
    """

    def __init__(self, query: str) -> None:
        terms = frozenset(keywords(query))
        alone = {normalized(run) for _, run in word_runs(query) if len(run) == 1}
        terms = frozenset(term for term in terms if len(term) > 1 or not is_unspaced(term) or term in alone)
        rare = frozenset(term for term in terms if not _is_common(term))
        self._terms = rare or terms
        self._matches = cache(self._is_match)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the places of the words, as positions of their first character and of the one behind their last.

        Args:
            text: the text; invisible characters within a word do not hide it.
        """
        positions = visible_positions(text)
        visible = text if positions is None else "".join(text[position] for position in positions)
        spans: list[tuple[int, int]] = []
        for start, run in word_runs(visible):
            for first, end in self._within(run):
                first, end = start + first, start + end
                if positions is not None:
                    first, end = positions[first], positions[end - 1] + 1
                if spans and first <= spans[-1][1]:
                    spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
                else:
                    spans.append((first, end))
        return spans

    def _within(self, run: str) -> list[tuple[int, int]]:
        """Return the places of the words in a run of letters."""
        if not is_unspaced(run[0]):
            return [(0, len(run))] if self._matches(run) else []
        if len(run) == 1:
            return [(0, 1)] if self._matches(run) else []
        pairs = [(start, start + 2) for start in range(len(run) - 1) if self._matches(run[start : start + 2])]
        return pairs or [(start, start + 1) for start, char in enumerate(run) if self._matches(char)]

    def _is_match(self, word: str) -> bool:
        if is_unspaced(word[0]):
            return normalized(word) in self._terms
        return not self._terms.isdisjoint(keywords(word))


def _is_common(term: str) -> bool:
    return term in _COMMON or (is_unspaced(term[0]) and not _PARTICLES.isdisjoint(term))
