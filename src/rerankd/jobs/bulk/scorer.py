"""Scorer of chunks on this machine; a pair that was scored already is not scored again."""

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
    """Scores pairs with one model and one set of truncation options.

    Every distinct pair of a chunk is scored once. Scores of earlier chunks are cached only if the backend computes
    pairs one by one: in a batch, the last bits of a score depend on the other pairs, so a cache hit could change
    them.

    Args:
        scorer: encoder and backend.
        truncation: truncation options of pairs.
        model: name of the model.
        version: fingerprint of the model's files and of the backend.
        max_batch_tokens: largest number of tokens in a batch.
    """

    def __init__(
        self, scorer: Scorer, truncation: TruncationOptions, *, model: str, version: str, max_batch_tokens: int
    ) -> None:
        self._scorer, self.truncation = scorer, truncation
        self._version, self._max_batch_tokens = version, max_batch_tokens
        is_one_by_one = scorer.backend.max_batch_pairs == 1
        self._cache = MemoryCache(CACHE_ENTRIES if is_one_by_one else 0)
        self.backend = f"{scorer.backend.name} {scorer.backend.device} {scorer.backend.precision}"
        self.identity: dict[str, str | int] = {"model": model, "version": version, "policy": truncation.identity}
        if not is_one_by_one:
            self.identity["max_batch_tokens"] = max_batch_tokens

    def score(self, groups: Sequence[QueryGroup], check: CancelCheck | None = None) -> list[list[PairScore]]:
        """Score groups together.

        Args:
            groups: queries with their documents.
            check: called between batches; raises to cancel the work.

        Returns:
            One list per group, in order.

        Raises:
            ScoringError: the model returned no usable score.
        """
        positions: dict[str, dict[str, list[tuple[int, int]]]] = {}  # query -> text -> (group, document)
        for group_index, (query, documents) in enumerate(groups):
            positions_of = positions.setdefault(query, {})
            for document_index, text in enumerate(documents):
                positions_of.setdefault(text, []).append((group_index, document_index))
        keys = {
            query: dict(zip(texts, pair_keys(self._version, self.truncation, query, list(texts)), strict=True))
            for query, texts in positions.items()
        }
        scores_by_key = self._cache.get([key for query_keys in keys.values() for key in query_keys.values()])
        missing = [
            (query, texts)
            for query, query_keys in keys.items()
            if (texts := [text for text, key in query_keys.items() if key not in scores_by_key])
        ]
        scored = self._scorer.score(
            missing,
            self.truncation,
            max_batch_tokens=self._max_batch_tokens,
            progress=(lambda completed, total: check()) if check else None,
        )
        fresh: dict[bytes, PairScore] = {}
        for (query, texts), scores in zip(missing, scored, strict=True):
            fresh |= {keys[query][text]: score for text, score in zip(texts, scores, strict=True)}
        self._cache.put(fresh)
        scores_by_key |= fresh
        result: list[dict[int, PairScore]] = [{} for _ in groups]
        for query, positions_of in positions.items():
            for text, text_positions in positions_of.items():
                score = scores_by_key[keys[query][text]]
                for group_index, document_index in text_positions:
                    result[group_index][document_index] = score
        return [[scores[index] for index in range(len(scores))] for scores in result]
