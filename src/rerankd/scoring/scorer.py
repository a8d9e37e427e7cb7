"""Scores of queries with documents: encode, batch, compute, join the chunks of long documents, check."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from rerankd._common.timing import StepTimer
from rerankd.errors import ScoringError
from rerankd.scoring.backend import Backend
from rerankd.scoring.batches import BatchLimits, plan_batches
from rerankd.scoring.encoder import EncodedPair, PairEncoder, TruncationOptions
from rerankd.scoring.parallel import WorkerPool
from rerankd.types import PairScore

ProgressCallback = Callable[[int, int], None]


class Scorer:
    """An encoder and a backend that belong to one model.

    Args:
        encoder: encoder with the model's tokenizer.
        backend: backend with the model's weights.

    Example:
        >>> scorer = Scorer(encoder, backend)  # doctest: +SKIP
        >>> scorer.score([("q", ["a", "b"])], TruncationOptions(512), max_batch_tokens=4096)  # doctest: +SKIP
        [[PairScore(...), PairScore(...)]]
    """

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
        progress: ProgressCallback | None = None,
    ) -> list[list[PairScore]]:
        """Score each query's documents; a document that occurs twice under a query is computed once.

        Args:
            groups: (query, documents) in any number; all are batched together.
            truncation: truncation of the pairs.
            max_batch_tokens: tokens of a batch at most.
            max_batch_pairs: sequences of a batch at most, if the backend allows as many; None for no limit.
            timer: timer of the steps `tokenization` and `inference`.
            progress: function called after each batch with the sequences computed so far and their total.

        Returns:
            One list per group, one score per document, in the order of the input.

        Raises:
            ScoringError: the model returned a score that is not a finite number.
        """
        timer = timer or StepTimer()
        with timer.step("tokenization"):
            distinct = [list(dict.fromkeys(documents)) for _, documents in groups]
            encoded = [
                chunks
                for (query, _), documents in zip(groups, distinct, strict=True)
                for chunks in self.encoder.encode(query, documents, truncation)
            ]
        with timer.step("inference"):
            sequences = [chunk for chunks in encoded for chunk in chunks]
            logits = self._compute(sequences, self.batch_limits(max_batch_tokens, max_batch_pairs), progress)
        scores = iter(_join_chunks(encoded, logits))
        result = []
        for (_, documents), unique in zip(groups, distinct, strict=True):
            score_of = {document: next(scores) for document in unique}
            result.append([score_of[document] for document in documents])
        return result

    def batch_limits(self, max_batch_tokens: int, max_batch_pairs: int | None = None) -> BatchLimits:
        """Return the limits of one call: the backend's own, tightened by the arguments."""
        pairs = [limit for limit in (max_batch_pairs, self.backend.max_batch_pairs) if limit is not None]
        return BatchLimits(
            max_tokens=min(max_batch_tokens, self.backend.max_batch_tokens or max_batch_tokens),
            max_pairs=min(pairs) if pairs else None,
            max_padding=self.backend.max_padding,
            workers=self.backend.workers,
        )

    def _compute(
        self, pairs: list[EncodedPair], limits: BatchLimits, progress: ProgressCallback | None
    ) -> npt.NDArray[np.float32]:
        logits = np.empty(len(pairs), dtype=np.float32)
        completed = 0
        batches = plan_batches([len(pair) for pair in pairs], limits)
        computed = self.worker_pool.map(lambda backend, batch: backend.logits([pairs[i] for i in batch]), batches)
        for batch, batch_logits in zip(batches, computed, strict=True):
            logits[batch] = batch_logits
            completed += len(batch)
            if progress is not None:
                progress(completed, len(pairs))
        if not np.isfinite(logits).all():
            raise non_finite_error(int((~np.isfinite(logits)).sum()))
        return logits


def non_finite_error(count: int) -> ScoringError:
    """Return the error for logits that are NaN or infinite."""
    return ScoringError(
        f"The model returned {count} scores that are not finite numbers.",
        hint="Check its files (rerankd models verify), or use fp32 instead of fp16.",
    )


def best_chunk(chunks: Sequence[EncodedPair], logits: Sequence[float]) -> PairScore:
    """Return the score of a document: the maximum over its chunks (MaxP, Dai and Callan 2019)."""
    return PairScore(
        raw_score=float(max(logits)),
        tokens=sum(len(chunk) for chunk in chunks),
        truncated=any(chunk.truncated for chunk in chunks),
        chunks=len(chunks),
    )


def _join_chunks(encoded: list[list[EncodedPair]], logits: npt.NDArray[np.float32]) -> list[PairScore]:
    scores, start = [], 0
    for chunks in encoded:
        scores.append(best_chunk(chunks, logits[start : start + len(chunks)].tolist()))
        start += len(chunks)
    return scores
