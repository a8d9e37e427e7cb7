"""Traces, and the conversion of a ranking into a trace. No database is needed here."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from rerankd._common.rank_correlation import kendall_tau_of_ranks, rank_biased_overlap
from rerankd.ranking.activation import activate
from rerankd.ranking.order import SCORE, first_scores, fused, order_of, rank_request
from rerankd.traces.hashing import encode_text
from rerankd.traces.packing import Candidates, pack
from rerankd.types import Document, MatchedRule, RankingRecord, TruncationOverrides

PROMOTION_DEPTH = 10
MAX_MODEL_NAME = 200
STORED_NAMES = {"variant": "arm"}
"""Names in the database and in JSON of the fields that have another name here."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded ranking, without its texts.

    Attributes:
        id: number of the trace.
        time: time of the ranking, seconds since 1970.
        tenant: id of the API key that sent the request; empty if no key is needed.
        request_id: request id, as in the answer's `id`; empty for a local ranking.
        source: origin of the request: `http`, `job` or `library`.
        model: name of the model that scored.
        version: version of that model.
        query: number of the query's text.
        parameters: number of the parameters' text.
        documents: number of candidates.
        kept: number of documents that were returned.
        top_before: rank before reranking, from 1, of the document at rank 1; 0 if rules hid all documents.
        top_score: highest logit that the model gave to a document that was shown; rules and fusion have no part in it.
        margin: difference in logits of the scores that put the first two unpinned documents in order: boosts of rules
            and weighted fusion are part of them. None where fewer than two documents are left, or reciprocal ranks
            were fused, which have no distances.
        tau: Kendall's tau between the order before and after; None for fewer than two candidates.
        rbo: rank-biased overlap of both orders; None without candidates, and in traces of older versions.
        promotion: ranks that the first ten returned documents rose, mean, where a fall counts as 0.
        truncated: number of candidates that the model did not read to the end.
        cached: number of candidates whose score came from the cache.
        tokens: tokens of all pairs.
        tokenization_ms: milliseconds of tokenization.
        queue_ms: milliseconds in the queue.
        inference_ms: milliseconds of inference.
        total_ms: milliseconds of the whole request.
        experiment: name of the experiment; empty for none.
        variant: variant of the experiment that answered. Stored as `arm`.
    """

    id: int
    time: float
    tenant: str
    request_id: str
    source: str
    model: str
    version: str
    query: int
    parameters: int
    documents: int
    kept: int
    top_before: int
    top_score: float
    margin: float | None
    tau: float | None
    rbo: float | None
    promotion: float | None
    truncated: int
    cached: int
    tokens: int
    tokenization_ms: float
    queue_ms: float
    inference_ms: float
    total_ms: float
    experiment: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True)
class PendingTrace:
    """A trace that is not written yet, so that its texts have no numbers.

    Attributes:
        row: columns of the table `trace`, without the numbers.
        texts: SHA-256 of the query, the parameters and the documents, in this order.
        contents: contents of the texts by SHA-256.
        candidates: the candidates, with zeros in place of the numbers of their texts.
    """

    row: dict[str, Any]
    texts: list[bytes]
    contents: dict[bytes, bytes]
    candidates: Candidates


def build_trace(ranking: RankingRecord, redact: Callable[[str], str] | None = None) -> PendingTrace:
    """Return the trace of a ranking.

    Args:
        ranking: the ranking.
        redact: function that is applied to the query, the instruction, the documents' texts, and strings in their
            metadata.
    """
    request = ranking.request
    texts = [request.query, *(document.text for document in request.documents)]
    if redact is not None:
        texts = [redact(text) for text in texts]
    contents = [encode_text(texts[0]), _parameters(ranking, redact), *map(encode_text, texts[1:])]
    digests = [hashlib.sha256(content).digest() for content in contents]
    candidates = _candidates(ranking, redact)
    unique = dict(zip(digests, contents, strict=True))
    size = sum(map(len, unique.values())) + len(pack(candidates))
    return PendingTrace(
        row=_row(ranking, candidates) | {"bytes": size},
        texts=digests,
        contents=unique,
        candidates=candidates,
    )


def _row(ranking: RankingRecord, candidates: Candidates) -> dict[str, Any]:
    request, timings, count = ranking.request, ranking.timings, len(candidates)
    shown = np.flatnonzero(candidates.shown)
    order = shown[np.argsort(candidates.ranks[shown])]
    ranks = candidates.ranks[shown]
    kept = len(rank_request(request, ranking.scores, ranking.adjustments))
    names = {
        "tenant": request.tenant,
        "request_id": request.request_id,
        "source": request.source,
        "model": ranking.model,
        "version": ranking.version,
        "experiment": ranking.experiment,
        "arm": ranking.variant,
    }
    numbers = {
        "time": ranking.time,
        "documents": count,
        "kept": kept,
        "top_before": int(order[0]) + 1 if len(order) else 0,
        "top_score": float(candidates.raw_scores[shown].max(initial=-math.inf)) if len(shown) else 0.0,
        "margin": _margin(ranking, candidates),
        "tau": kendall_tau_of_ranks(ranks.tolist()),
        "rbo": rank_biased_overlap(ranks),
        "promotion": _promotion(order, kept),
        "truncated": int(candidates.truncated.sum()),
        "cached": ranking.cached,
        "tokens": sum(score.tokens for score in ranking.scores),
    }
    steps = {f"{step}_ms": float(timings.get(step, 0.0)) for step in ("tokenization", "queue", "inference", "total")}
    # PostgreSQL stores no NUL character in text.
    clean = {name: value.replace("\0", "") for name, value in names.items()}
    return clean | numbers | steps | {"teams": ranking.teams or None}


def _candidates(ranking: RankingRecord, redact: Callable[[str], str] | None) -> Candidates:
    scores, documents = ranking.scores, ranking.request.documents
    count = len(scores)
    final = activate(_boosted_logits(ranking).tolist(), ranking.request.activation)
    order = order_of(documents, scores, ranking.adjustments, ranking.request.fusion)
    returned = set(order)
    order += [position for position in range(count) if position not in returned]  # filtered documents rank last
    ranks = np.empty(count, np.int64)
    ranks[order] = np.arange(1, count + 1)
    scores_before = first_scores(documents)
    ids = tuple(None if document.id is None else str(document.id) for document in documents)
    return Candidates(
        passages=np.zeros(count, np.int64),
        raw_scores=np.asarray([score.raw_score for score in scores], np.float32),
        final_scores=np.asarray(final, np.float32),
        ranks=ranks,
        scores_before=np.empty(0) if all(map(math.isnan, scores_before)) else np.asarray(scores_before),
        truncated=np.fromiter((score.truncated for score in scores), np.bool_, count),
        chunks=np.fromiter((score.chunks for score in scores), np.int64, count),
        ids=ids if any(name is not None for name in ids) else (),
        rules={
            position: [rule_label(rule) for rule in adjustment.matched_rules]
            for position, adjustment in enumerate(ranking.adjustments)
            if adjustment.matched_rules
        },
        metadata=[_metadata(document, redact) for document in documents],
        adjustments={
            position: dataclasses.replace(adjustment, matched_rules=())
            for position, adjustment in enumerate(ranking.adjustments)
            if adjustment.matched_rules
        },
    )


def _metadata(document: Document, redact: Callable[[str], str] | None) -> dict[str, Any]:
    """Return a document's metadata without the first stage's score, which `scores_before` holds."""
    metadata = {str(name): value for name, value in (document.metadata or {}).items() if name != SCORE}
    if redact is None or not metadata:
        return metadata
    return {name: _redact_value(value, redact) for name, value in metadata.items()}


def _redact_value(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [_redact_value(element, redact) for element in value]
    if isinstance(value, Mapping):
        return {str(name): _redact_value(element, redact) for name, element in value.items()}
    return value


def rule_label(rule: MatchedRule) -> str:
    """Return what traces say of a rule that acted on a document.

    Example:
        >>> rule_label(MatchedRule("fresh", "boost", 0.5))
        'fresh: boost +0.5'
    """
    return f"{rule.rule}: {rule.action} {rule.weight:+g}" if rule.weight else f"{rule.rule}: {rule.action}"


def _boosted_logits(ranking: RankingRecord) -> npt.NDArray[np.float64]:
    """Return the logits with the boosts of rules added."""
    logits = np.array([score.raw_score for score in ranking.scores], np.float64)
    boosts = [adjustment.boost for adjustment in ranking.adjustments]
    return logits + boosts if boosts else logits


def _margin(ranking: RankingRecord, candidates: Candidates) -> float | None:
    ranks, fusion = candidates.ranks_without_pins, ranking.request.fusion
    if ranks.max(initial=0) < 2 or (fusion is not None and fusion.method == "rrf"):
        return None
    scores, unit = _boosted_logits(ranking), 1.0
    if fusion is not None:  # in standard deviations of the logits
        unit = float(scores.std())
        scores = fused(scores.tolist(), first_scores(ranking.request.documents), fusion)
    first, second = (int(np.flatnonzero(ranks == rank)[0]) for rank in (1, 2))
    return float(scores[first] - scores[second]) * unit if unit > 0 else None


def _parameters(ranking: RankingRecord, redact: Callable[[str], str] | None) -> bytes:
    """Return the request's parameters as JSON; those with a default are left out where they have it."""
    request, defaults = ranking.request, TruncationOverrides()
    overrides = {
        option.name: getattr(request.truncation, option.name) for option in dataclasses.fields(TruncationOverrides)
    }
    parameters: dict[str, Any] = {"activation": request.activation, "top_n": request.top_n}
    parameters |= {name: value for name, value in overrides.items() if value != getattr(defaults, name)}
    parameters["max_length"] = ranking.max_length
    instruction = request.truncation.instruction or ranking.instruction
    if instruction is not None:
        parameters["instruction"] = instruction if redact is None else redact(instruction)
    if request.threshold is not None:
        parameters["threshold"] = request.threshold
    if request.fusion is not None:
        parameters |= {"fusion": request.fusion.method, "fusion_weight": request.fusion.weight}
    if ranking.rules:
        parameters["rules"] = ranking.rules
    if request.model is not None:
        parameters["model"] = request.model[:MAX_MODEL_NAME]
    if not request.cache:
        parameters["cache"] = False
    return orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS)


def _promotion(order: npt.NDArray[np.int64], kept: int) -> float | None:
    """Return the ranks that the first returned documents rose, mean; `order` has their positions in the request."""
    returned = order[: min(kept, PROMOTION_DEPTH)]
    return float(np.maximum(returned - np.arange(len(returned)), 0).mean()) if len(returned) else None
