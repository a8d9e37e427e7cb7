"""A hundred thousand traces in bulk, for measurements of the console: rows are inserted as they would be after a week.

The rankings are drawn, not scored: queries in English and Chinese, half of them asked twice; passages of which popular
ones recur; three models, one of them in two versions; an A/B test; feedback on every twentieth ranking and a bad case
for every two-hundredth.
"""

from __future__ import annotations

import hashlib
import random
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from sqlalchemy import insert, update

from rerankd.database import tables
from rerankd.feedback.cases import CaseCandidate, pack_case
from rerankd.feedback.detectors import LOW_MARGIN, WHOLE
from rerankd.traces.packing import Candidates, pack
from rerankd.traces.query_text import fold
from rerankd.traces.store import TraceStore

BATCH = 5000
SPAN_SECONDS = 7 * 86_400.0
PASSAGES, CANDIDATES, TENANTS = 20_000, 50, 20
MODELS = (("mini", "5f1d9a3c70b2e846"), ("mini", "0c4b7e92d6f1a835"), ("bge-v2-m3", "a84e6c1029d7f35b"))
RARE_MODEL = ("old-ranker", "7d20f4a81c9b63e5")
_ENGLISH = (
    "refund travel policy invoice contract laptop access expense holiday remote security incident database timeout "
    "retry index shard replica customer warranty delivery customs tax salary contribution insurance claim"
)
_CHINESE = "差旅 报销 标准 住宿 上限 合同 审批 流程 发票 抬头 加班 调休 服务器 超时 重试 配置 权限 申请 保修 退货"
WORDS, CHINESE = _ENGLISH.split(), _CHINESE.split()


@dataclass(frozen=True)
class Seeded:
    """What a seeded store holds.

    Attributes:
        traces: number of traces.
        now: time of the newest, seconds since 1970.
    """

    traces: int
    now: float


def tenant_of(number: int) -> str:
    """Return the tenant of a trace: the first one has half of all, and others share the rest."""
    return f"team-{0 if number % 2 else number // 2 % TENANTS}"


def seed(url: str, traces: int, now: float | None = None) -> Seeded:
    """Insert traces, feedback and cases into an empty database.

    Args:
        url: URL of the database.
        traces: number of traces.
        now: time of the newest, seconds since 1970; None for the current time.
    """
    store, seeded = TraceStore(url), Seeded(traces, now or time.time())
    texts = _Texts(traces)
    with store.begin() as connection:
        for rows in texts.batches():
            connection.execute(insert(tables.passage), rows)
        for start in range(0, len(texts.queries), BATCH):
            part = enumerate(texts.queries[start : start + BATCH], start=texts.first_query + start)
            connection.execute(insert(tables.query_text), [{"id": number, "text": fold(text)} for number, text in part])
        ids = {"next_trace": traces + 1, "next_passage": texts.first_query + len(texts.queries)}
        connection.execute(update(tables.store).values(ids))
    draw = _Draw(texts, seeded)
    for start in range(0, traces, BATCH):
        numbers = range(start, min(start + BATCH, traces))
        with store.begin() as connection:
            for table, rows in draw.rows(numbers).items():
                connection.execute(insert(table), rows)
    if not store.is_sqlite:  # as it does by itself on a server that runs on
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    store.close()
    return seeded


class _Texts:
    """Parameters (number 1), passages and queries by number."""

    def __init__(self, traces: int) -> None:
        draw = random.Random(1)
        self.parameters = orjson.dumps({"activation": "sigmoid", "max_length": 512, "top_n": 10})
        self.passages = [_sentence(draw, number, 30, 80) for number in range(PASSAGES)]
        self.queries = [_sentence(draw, number, 3, 8) for number in range(max(1, traces // 2))]
        self.first_query = PASSAGES + 2

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        contents = [self.parameters, *(text.encode() for text in (*self.passages, *self.queries))]
        for start in range(0, len(contents), BATCH):
            yield [
                _passage(number, content) for number, content in enumerate(contents[start : start + BATCH], start + 1)
            ]


def _sentence(draw: random.Random, number: int, least: int, most: int) -> str:
    words, glue = (CHINESE, "") if number % 3 == 0 else (WORDS, " ")
    return glue.join([*draw.choices(words, k=draw.randint(least, most)), f"{glue}{number}"])


def _passage(number: int, content: bytes) -> dict[str, Any]:
    packed = zlib.compress(content, 6) if len(content) >= 256 else content
    digest = hashlib.sha256(content + number.to_bytes(8, "big")).digest()
    deflated = packed is not content
    return {
        "id": number,
        "hash": digest,
        "size": len(content),
        "deflated": deflated,
        "seen": time.time(),
        "data": packed,
    }


class _Draw:
    """Draws rows of all tables for ranges of traces."""

    def __init__(self, texts: _Texts, seeded: Seeded) -> None:
        self._texts, self._seeded = texts, seeded
        self._numpy = np.random.default_rng(2)

    def rows(self, numbers: Sequence[int]) -> dict[Any, list[dict[str, Any]]]:
        rows: dict[Any, list[dict[str, Any]]] = {
            table: []
            for table in (tables.trace, tables.candidates, tables.feedback, tables.bad_case, tables.bad_case_reason)
        }
        for number in numbers:
            candidates = self._candidates()
            row = self._trace(number, candidates)
            rows[tables.trace].append(row)
            rows[tables.candidates].append({"trace": number + 1, "data": pack(candidates)})
            if row["has_feedback"]:
                rows[tables.feedback].append(_feedback(row))
            if row["has_case"]:
                rows[tables.bad_case].append(self._case(number, row))
                rows[tables.bad_case_reason].append(_reason(number, row))
        return {table: made for table, made in rows.items() if made}

    def _candidates(self) -> Candidates:
        draw = self._numpy
        logits = draw.normal(0, 4, CANDIDATES).astype(np.float32)
        ranks = np.empty(CANDIDATES, np.int64)
        ranks[np.argsort(-logits)] = np.arange(1, CANDIDATES + 1)
        passages = 2 + (PASSAGES * draw.random(CANDIDATES) ** 3).astype(np.int64)
        scores = (1 / (1 + np.exp(-logits))).astype(np.float32)
        return Candidates(passages, logits, scores, ranks, truncated=draw.random(CANDIDATES) < 0.02)

    def _trace(self, number: int, candidates: Candidates) -> dict[str, Any]:
        draw, order = self._numpy, np.argsort(candidates.ranks)
        model, version = RARE_MODEL if number % 5000 == 17 else MODELS[int(draw.integers(len(MODELS)))]
        total, logits = float(draw.lognormal(4, 0.6)), candidates.raw_scores[order]
        tested = number % 4 == 0
        return {
            "id": number + 1,
            "time": self._seeded.now - SPAN_SECONDS * (1 - (number + 1) / self._seeded.traces),
            "tenant": tenant_of(number),
            "request_id": f"{number:032x}",
            "source": "http",
            "model": model,
            "version": version,
            "query": self._texts.first_query + number % len(self._texts.queries),
            "parameters": 1,
            "documents": CANDIDATES,
            "kept": 10,
            "top_before": int(order[0]) + 1,
            "top_score": float(logits[0]),
            "margin": float(logits[0] - logits[1]),
            "tau": float(draw.normal(0, 0.1)),
            "rbo": float(draw.random()),
            "promotion": float(np.maximum(order[:10] - np.arange(10), 0).mean()),
            "truncated": int(candidates.truncated.sum()),
            "cached": 0,
            "tokens": 6000,
            "tokenization_ms": 2.0,
            "queue_ms": 1.0,
            "inference_ms": total,
            "total_ms": total + 4.0,
            "experiment": "reranker-ab" if tested else "",
            "arm": ("baseline", "challenger")[number // 4 % 2] if tested else "",
            "bytes": 1500,
            "has_feedback": number % 20 == 3,
            "has_case": number % 200 == 5,
        }

    def _case(self, number: int, row: dict[str, Any]) -> dict[str, Any]:
        query = self._texts.queries[number % len(self._texts.queries)]
        candidates = [
            CaseCandidate(index, None, self._texts.passages[index], index + 1, index + 1, 0.0) for index in range(10)
        ]
        return {
            **{name: row[name] for name in ("time", "tenant", "request_id", "model", "version")},
            "id": _case_number(number),
            "changed": row["time"],
            "detector": LOW_MARGIN,
            "position": WHOLE,
            "state": "open",
            "note": "",
            "severity": -row["margin"],
            "data": pack_case(query, candidates),
        }


def _case_number(number: int) -> int:
    return number // 200 + 1


def _reason(number: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "case_id": _case_number(number),
        "detector": LOW_MARGIN,
        "position": WHOLE,
        "time": row["time"],
        "severity": -row["margin"],
        "note": "",
    }


def _feedback(row: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("time", "tenant", "request_id")},
        "kind": "click",
        "position": 3,
        "document": None,
        "value": 1.0,
        "source": 0,
    }
