"""Scores of a chunk's pairs on this machine; a pair that was scored already is not scored again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rerankd.engine.cache import MemoryCache, pair_keys
from rerankd.engine.request import QueryGroup
from rerankd.scoring.encoder import TruncationOptions
from rerankd.scoring.scorer import Scorer
from rerankd.types import PairScore

CACHE_ENTRIES = 16_384
CancelCheck = Callable[[], None]


class PairScorer:
    """One model and one truncation.

    Inside a chunk every distinct pair is scored once. Pairs of earlier chunks are remembered only where a score does
    not depend on what is computed beside it; elsewhere what is remembered would show in the last bits of the others.

    Args:
        scorer: encoder and backend.
        truncation: how pairs are cut.
        model: name of the model.
        version: changes with its files and with what computes them.
        max_batch_tokens: tokens computed together at most.
    """

    def __init__(
        self, scorer: Scorer, truncation: TruncationOptions, *, model: str, version: str, max_batch_tokens: int
    ) -> None:
        self._scorer, self._truncation = scorer, truncation
        self._version, self._max_batch_tokens = version, max_batch_tokens
        alone = scorer.backend.max_batch_pairs == 1
        self._cache = MemoryCache(CACHE_ENTRIES if alone else 0)
        self.backend = f"{scorer.backend.name} {scorer.backend.device} {scorer.backend.precision}"
        self.identity: dict[str, str | int] = {"model": model, "version": version, "policy": truncation.identity}
        if not alone:
            self.identity["max_batch_tokens"] = max_batch_tokens

    def score(self, groups: Sequence[QueryGroup], check: CancelCheck | None = None) -> list[list[PairScore]]:
        """Score groups together.

        Args:
            groups: queries with their documents.
            check: called between batches; may stop the work by raising.

        Returns:
            One list per group, in order.

        Raises:
            ScoringError: the model gave no usable score.
        """
        places: dict[str, dict[str, list[tuple[int, int]]]] = {}
        for number, (query, documents) in enumerate(groups):
            own = places.setdefault(query, {})
            for place, document in enumerate(documents):
                own.setdefault(document, []).append((number, place))
        keys = {
            query: dict(zip(own, pair_keys(self._version, self._truncation, query, list(own)), strict=True))
            for query, own in places.items()
        }
        found = self._cache.get([key for own in keys.values() for key in own.values()])
        wanted = [(query, [text for text, key in own.items() if key not in found]) for query, own in keys.items()]
        scored = self._scorer.score(
            [(query, texts) for query, texts in wanted if texts],
            self._truncation,
            max_batch_tokens=self._max_batch_tokens,
            progress=(lambda done, total: check()) if check else None,
        )
        fresh: dict[bytes, PairScore] = {}
        for (query, texts), scores in zip([one for one in wanted if one[1]], scored, strict=True):
            fresh |= {keys[query][text]: score for text, score in zip(texts, scores, strict=True)}
        self._cache.put(fresh)
        found |= fresh
        result: list[dict[int, PairScore]] = [{} for _ in groups]
        for query, own in places.items():
            for text, spots in own.items():
                score = found[keys[query][text]]
                for number, place in spots:
                    result[number][place] = score
        return [[scores[place] for place in range(len(scores))] for scores in result]
