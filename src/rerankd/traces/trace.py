"""What a trace is, and making one of a ranking."""

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
from rerankd.ranking.order import SCORE, first_scores, order_of, rank_request
from rerankd.traces.hashing import encode_text
from rerankd.traces.packing import Candidates
from rerankd.types import Document, MatchedRule, RankingRecord, TruncationOverrides

PROMOTED = 10


@dataclass(frozen=True, slots=True)
class Trace:
    """A ranking as it is listed.

    Attributes:
        id: its number in the store.
        time: when it was done, seconds since 1970.
        tenant: id of the API key that asked; empty where no keys are needed.
        request_id: what its answer called it; empty for a local ranking.
        source: where it came in: `http`, `job` or `library`.
        model: name of the model that scored.
        version: of that model.
        query: number of the query's text.
        parameters: number of the parameters' text.
        documents: candidates.
        kept: how many of them were returned.
        top_before: place before of what is first now, from 1.
        top_score: logit of what is first now.
        margin: by how much it is above the second; None where there is no second.
        tau: Kendall's tau between the order before and after; None for a single candidate.
        rbo: rank-biased overlap between them; None for traces of before it was measured, and without candidates.
        promotion: places that the first `PROMOTED` of those returned rose, on average, those that sank with 0.
        truncated: candidates of which the model did not read all.
        cached: candidates whose score was kept from before.
        tokens: tokens of all pairs.
        experiment: name of the experiment that it was part of; empty for none.
        arm: which of its arms answered.
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
    arm: str = ""


@dataclass(frozen=True, slots=True)
class PendingTrace:
    """A trace that is to be written: its row, and texts that have no numbers yet.

    Attributes:
        row: columns of `trace` but for numbers.
        texts: digests of query, parameters and documents, in this order.
        contents: the texts by digest.
        candidates: with zeros where the texts' numbers will be.
    """

    row: dict[str, Any]
    texts: list[bytes]
    contents: dict[bytes, bytes]
    candidates: Candidates


def build_trace(ranking: RankingRecord, redact: Callable[[str], str] | None = None) -> PendingTrace:
    """Make a trace of a ranking.

    Args:
        ranking: what happened.
        redact: applied to the query and to the documents' texts.
    """
    request = ranking.request
    texts = [request.query, *(document.text for document in request.documents)]
    if redact is not None:
        texts = [redact(text) for text in texts]
    contents = [encode_text(texts[0]), _parameters(ranking), *map(encode_text, texts[1:])]
    digests = [hashlib.sha256(content).digest() for content in contents]
    found = _candidates(ranking, redact)
    return PendingTrace(_row(ranking, found), digests, dict(zip(digests, contents, strict=True)), found)


def _row(ranking: RankingRecord, found: Candidates) -> dict[str, Any]:
    request, timings, count = ranking.request, ranking.timings, len(found)
    places = np.argsort(found.ranks)
    raw = _logits(ranking)
    kept = len(rank_request(request, ranking.scores, ranking.adjustments))
    names = {"tenant": request.tenant, "request_id": request.request_id, "source": request.source}
    about = names | {"model": ranking.model, "version": ranking.version}
    about |= {"experiment": ranking.experiment, "arm": ranking.variant}
    numbers = {
        "time": ranking.time,
        "documents": count,
        "kept": kept,
        "top_before": int(places[0]) + 1 if count else 0,
        "top_score": float(raw[places[0]]) if count else 0.0,
        "margin": float(raw[places[0]] - raw[places[1]]) if count > 1 else None,
        "tau": kendall_tau_of_ranks(found.ranks.tolist()),
        "rbo": rank_biased_overlap(found.ranks),
        "promotion": _promotion(places, kept),
        "truncated": int(found.truncated.sum()),
        "cached": ranking.cached,
        "tokens": sum(score.tokens for score in ranking.scores),
    }
    steps = {f"{step}_ms": float(timings.get(step, 0.0)) for step in ("tokenization", "queue", "inference", "total")}
    # A zero character is no text in PostgreSQL.
    plain = {name: value.replace("\0", "") for name, value in about.items()}
    return plain | numbers | steps | {"teams": ranking.teams or None}


def _candidates(ranking: RankingRecord, redact: Callable[[str], str] | None) -> Candidates:
    scores, documents = ranking.scores, ranking.request.documents
    raw = [score.raw_score for score in scores]
    final = np.asarray(activate(_logits(ranking).tolist(), ranking.request.activation), np.float32)
    order = order_of(documents, scores, ranking.adjustments, ranking.request.fusion)
    shown = set(order)
    order += [place for place in range(len(raw)) if place not in shown]  # what rules left out stands last
    ranks = np.empty(len(raw), np.int64)
    ranks[order] = np.arange(1, len(raw) + 1)
    before = first_scores(documents)
    ids = tuple(document.id for document in documents)
    return Candidates(
        np.zeros(len(raw), np.int64),
        np.asarray(raw, np.float32),
        final,
        ranks,
        np.asarray(before) if not all(map(math.isnan, before)) else np.empty(0),
        np.fromiter((score.truncated for score in scores), np.bool_, len(raw)),
        np.fromiter((score.chunks for score in scores), np.int64, len(raw)),
        ids if any(name is not None for name in ids) else (),
        {
            place: [_rule_label(rule) for rule in adjustment.matched_rules]
            for place, adjustment in enumerate(ranking.adjustments)
            if adjustment.matched_rules
        },
        [_about(document, redact) for document in documents],
    )


def _about(document: Document, redact: Callable[[str], str] | None) -> dict[str, Any]:
    """A document's metadata without the first stage's score, which has a place of its own."""
    about = {str(name): value for name, value in (document.metadata or {}).items() if name != SCORE}
    if redact is None or not about:
        return about
    return {name: _redacted(value, redact) for name, value in about.items()}


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [_redacted(one, redact) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _redacted(one, redact) for name, one in value.items()}
    return value


def _rule_label(rule: MatchedRule) -> str:
    return f"{rule.rule}: {rule.action} {rule.weight:+g}" if rule.weight else f"{rule.rule}: {rule.action}"


def _logits(ranking: RankingRecord) -> npt.NDArray[np.float64]:
    """Logits with what rules added."""
    raw = np.array([score.raw_score for score in ranking.scores], np.float64)
    return raw + [rule.boost for rule in ranking.adjustments] if ranking.adjustments else raw


def _parameters(ranking: RankingRecord) -> bytes:
    request, max_length, usual = ranking.request, ranking.max_length, TruncationOverrides()
    changed = {entry.name: getattr(request.truncation, entry.name) for entry in dataclasses.fields(TruncationOverrides)}
    truncation = {name: value for name, value in changed.items() if value != getattr(usual, name)}
    said: dict[str, Any] = {"activation": request.activation, "max_length": max_length, "top_n": request.top_n}
    said |= truncation | {"max_length": max_length}
    if request.threshold is not None:
        said["threshold"] = request.threshold
    if request.fusion is not None:
        said |= {"fusion": request.fusion.method, "fusion_weight": request.fusion.weight}
    if ranking.rules:
        said["rules"] = ranking.rules
    if request.model is not None:
        said["model"] = request.model[:200]
    if not request.cache:
        said["cache"] = False
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


def _promotion(places: npt.NDArray[np.int64], kept: int) -> float | None:
    shown = places[: min(kept, PROMOTED)]
    return float(np.maximum(shown - np.arange(len(shown)), 0).mean()) if len(shown) else None
