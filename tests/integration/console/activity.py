"""A trace store with rankings of several models, tenants and versions over weeks, feedback and an experiment."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from rerankd.experiments.experiment import Experiment
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.store import ExperimentStore
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.store import import_feedback
from rerankd.traces.store import TraceStore
from rerankd.traces.trace import PendingTrace, build_trace
from rerankd.types import Document, PairScore, RankingRecord, RerankRequest

BATCH_SIZE = 2000
DAY = 86_400.0
DOCUMENTS = 10


def seed_activity(
    store: TraceStore,
    count: int,
    *,
    tenants: Sequence[str] = ("search",),
    models: Sequence[str] = ("mini",),
    days: float = 30.0,
    now: float | None = None,
    feedback: float = 0.05,
    seed: int = 0,
) -> None:
    """Write rankings, most of the first model; after two thirds of the time a new version answers.

    Args:
        store: store to write to.
        count: number of rankings.
        tenants: their tenants.
        models: their models.
        days: time before now over which they are spread.
        now: seconds since 1970; None for the current time.
        feedback: share of rankings that get feedback.
        seed: seed of the random numbers.
    """
    now = time.time() if now is None else now
    draw = np.random.default_rng(seed)
    ages = np.sort(draw.random(count))[::-1] * days * DAY
    patterns = [_pattern(number, draw) for number in range(50)]
    events: list[FeedbackEvent] = []
    for first in range(0, count, BATCH_SIZE):
        batch = []
        for number in range(first, min(first + BATCH_SIZE, count)):
            tenant = tenants[number % len(tenants)]
            model = models[0 if number % 4 else (number // 4) % len(models)]
            is_new = ages[number] < days * DAY / 3
            row = _row(f"r{seed}-{number}", now - float(ages[number]), tenant, model, is_new, draw)
            pattern = patterns[number % len(patterns)]
            batch.append(dataclasses.replace(pattern, row=pattern.row | row))
            if draw.random() < feedback:
                events.append(_event(row, draw))
        store.write(batch)
    import_feedback(store, events)


def _pattern(number: int, draw: np.random.Generator) -> PendingTrace:
    """Return a trace whose texts and candidates many rankings share."""
    documents = [Document(f"Document {number}.{position}", f"d{position}") for position in range(DOCUMENTS)]
    request = RerankRequest(f"query {number}", documents, 5, request_id="r", tenant="", source="http")
    scores = [PairScore(float(score), 40, False) for score in draw.normal(0, 3, DOCUMENTS)]
    timings = {"tokenization": 1.0, "queue": 2.0, "inference": 3.0, "total": 6.0}
    return build_trace(RankingRecord(request, scores, "mini", "v1", 512, timings, 0, time.time()))


def _row(
    request_id: str, at: float, tenant: str, model: str, is_new: bool, draw: np.random.Generator
) -> dict[str, object]:
    inference = float(draw.lognormal(3.0 if is_new else 3.3, 0.4))
    queue = float(draw.lognormal(0.5, 1.0))
    return {
        "request_id": request_id,
        "time": at,
        "tenant": tenant,
        "model": model,
        "version": "2@9f2c1e" if is_new else "1@41aa07",
        "source": "job" if draw.random() < 0.1 else "http",
        "top_score": float(draw.normal(3.5 if is_new else 3.0, 1.5)),
        "truncated": int(draw.random() < 0.2),
        "cached": int(draw.integers(0, 4)),
        "tokenization_ms": 1.5,
        "queue_ms": queue,
        "inference_ms": inference,
        "total_ms": 1.5 + queue + inference,
    }


def _event(row: dict[str, object], draw: np.random.Generator) -> FeedbackEvent:
    is_click = draw.random() < 0.8
    return FeedbackEvent(
        str(row["request_id"]),
        "click" if is_click else "thumb",
        int(draw.integers(0, DOCUMENTS)),
        value=1 if is_click or draw.random() < 0.3 else -1,
        time=float(str(row["time"])) + 20.0,
        tenant=str(row["tenant"]),
    )


def seed_experiment(store: TraceStore, name: str, model: str) -> None:
    """Start an experiment, let it advance once and stop it."""
    experiments = ExperimentStore(store)
    started = experiments.start(Experiment(name, "canary", model, "org/challenger"), "tester")
    event = ExperimentEvent(name, "advance", "All guardrails hold.", "tester", 0.05, {})
    advanced = experiments.update(started, event, coverage=0.05, step=1)
    if advanced is None:
        raise RuntimeError(f"{name} was changed by somebody else.")
    stop = ExperimentEvent(name, "stop", "enough seen", "tester", 0.0, {})
    experiments.update(advanced, stop, state="stopped", coverage=0.0)
