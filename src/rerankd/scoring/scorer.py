"""Scores for queries with documents: encode, plan, compute, join windows, check."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from rerankd._common.timing import StepTimer
from rerankd.errors import ScoringError
from rerankd.scoring.backend import Backend
from rerankd.scoring.batches import plan
from rerankd.scoring.encoder import EncodedPair, PairEncoder, TruncationOptions
from rerankd.scoring.parallel import WorkerPool
from rerankd.types import PairScore

Progress = Callable[[int, int], None]


class Scorer:
    """An encoder and a backend that belong to one model."""

    def __init__(self, encoder: PairEncoder, backend: Backend) -> None:
        self.encoder = encoder
        self.backend = backend
        self.worker_pool = WorkerPool(backend)

    def score(
        self,
        groups: Sequence[tuple[str, Sequence[str]]],
        truncation: TruncationOptions,
        *,
        max_batch_tokens: int,
        max_batch_pairs: int | None = None,
        timer: StepTimer | None = None,
        progress: Progress | None = None,
    ) -> list[list[PairScore]]:
        """Score each query's documents; a document that occurs twice under a query is computed once.

        Args:
            groups: (query, documents) in any number; all are planned together.
            truncation: how pairs are cut.
            max_batch_tokens: tokens computed together.
            max_batch_pairs: sequences computed together, if the backend allows as many.
            timer: gets the steps `tokenization` and `inference`.
            progress: called after each batch with the sequences done so far and their total.

        Returns:
            Scores in the order of the input.

        Raises:
            ScoringError: the model gave a score that is not a finite number.
        """
        timer = timer or StepTimer()
        with timer.step("tokenization"):
            distinct = [list(dict.fromkeys(documents)) for _, documents in groups]
            encoded = [
                windows
                for (query, _), documents in zip(groups, distinct, strict=True)
                for windows in self.encoder.encode(query, documents, truncation)
            ]
        with timer.step("inference"):
            flat = [window for windows in encoded for window in windows]
            logits = self._compute(flat, max_batch_tokens, max_batch_pairs, progress)
        scores = iter(_joined(encoded, logits))
        result = []
        for (_, documents), once in zip(groups, distinct, strict=True):
            found = {document: next(scores) for document in once}
            result.append([found[document] for document in documents])
        return result

    def plan(
        self, pairs: Sequence[EncodedPair], max_batch_tokens: int, max_batch_pairs: int | None = None
    ) -> list[list[int]]:
        """Positions of the pairs in the batches that the backend takes, see `rerankd.scoring.batches.plan`."""
        limits = [n for n in (max_batch_pairs, self.backend.max_batch_pairs) if n is not None]
        return plan(
            [len(pair) for pair in pairs],
            min(max_batch_tokens, self.backend.max_batch_tokens or max_batch_tokens),
            max_batch_pairs=min(limits) if limits else None,
            max_padding=self.backend.max_padding,
        )

    def _compute(
        self, pairs: list[EncodedPair], max_batch_tokens: int, max_batch_pairs: int | None, progress: Progress | None
    ) -> npt.NDArray[np.float32]:
        logits = np.empty(len(pairs), dtype=np.float32)
        done = 0
        batches = self.plan(pairs, max_batch_tokens, max_batch_pairs)
        computed = self.worker_pool.map(lambda backend, batch: backend.logits([pairs[i] for i in batch]), batches)
        for batch, found in zip(batches, computed, strict=True):
            logits[batch] = found
            done += len(batch)
            if progress is not None:
                progress(done, len(pairs))
        if not np.isfinite(logits).all():
            raise not_finite(int((~np.isfinite(logits)).sum()))
        return logits


def not_finite(count: int) -> ScoringError:
    """The error for logits that are NaN or infinite."""
    return ScoringError(
        f"The model gave {count} scores that are not finite numbers.",
        hint="Check its files (rerankd models verify), or use fp32 instead of fp16.",
    )


def best_chunk(windows: Sequence[EncodedPair], logits: Sequence[float]) -> PairScore:
    """The score of a document: its best window speaks for it."""
    return PairScore(
        raw_score=float(max(logits)),
        tokens=sum(len(window) for window in windows),
        truncated=any(window.truncated for window in windows),
        chunks=len(windows),
    )


def _joined(encoded: list[list[EncodedPair]], logits: npt.NDArray[np.float32]) -> list[PairScore]:
    scores, at = [], 0
    for windows in encoded:
        scores.append(best_chunk(windows, logits[at : at + len(windows)].tolist()))
        at += len(windows)
    return scores
