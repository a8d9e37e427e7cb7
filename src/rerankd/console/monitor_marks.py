"""Events on the time axis of monitoring: releases of a model, and what happened to its experiments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rerankd.console import formats
from rerankd.console.language import Language
from rerankd.console.messages import message
from rerankd.experiments.experiment import Experiment
from rerankd.experiments.history import ExperimentEvent
from rerankd.experiments.promotion_log import ACTION as REGISTRY
from rerankd.feedback.activity_series import ActivitySeries

MAX_MARKS = 40
RELEASE = "release"
EXPERIMENT_ACTIONS = ("start", "advance", "promote", "roll_back", "stop", "end")
REGISTRY_PHASES = ("moved", "moved_back")
VERSION_LENGTH = 24


def marks_of(
    series: ActivitySeries,
    events: Sequence[ExperimentEvent],
    language: Language,
    experiments: Sequence[Experiment] = (),
) -> list[dict[str, Any]]:
    """Return the events of a window, the earliest first; those above `MAX_MARKS` leave out the earliest.

    Args:
        series: rankings of a model in each bucket.
        events: history of its experiments, the newest first.
        language: language of the page.
        experiments: its experiments, also those that have ended.

    Returns:
        Events with `at` (seconds since 1970), `kind`, `text` and `label`, a number.
    """
    marks = [*release_marks(series, language, experiments), *experiment_marks(events, language)]
    buckets = series.buckets
    shown = sorted((mark for mark in marks if buckets.since <= mark["at"] < buckets.until), key=lambda mark: mark["at"])
    return [mark | {"label": str(number)} for number, mark in enumerate(shown[-MAX_MARKS:], start=1)]


def release_marks(
    series: ActivitySeries, language: Language, experiments: Sequence[Experiment] = ()
) -> list[dict[str, Any]]:
    """Return when another version began to answer most of the rankings.

    It is the time of its first ranking in that bucket, if it had none in the bucket before. The variants of an
    experiment take turns in that; only a version that is new replaces one that answers no more.
    """
    marks, before, previous = [], "", -1
    for position in range(series.buckets.count):
        counts = {version: values[position] for version, values in series.versions.items() if values[position]}
        if not counts:
            continue
        version = max(counts, key=lambda name: (counts[name], name))
        if before and version != before:
            is_new = not series.versions[version][previous]
            start = float(series.buckets.starts[position])
            at = float(np.nan_to_num(series.first_seen[version][position], nan=start)) if is_new else start
            if _is_tested(at, experiments) and not _replaces(series, version, before, position):
                before, previous = version, position
                continue
            names = {"before": _short(before), "after": _short(version)}
            marks.append({"at": at, "kind": RELEASE, "text": message("monitor.mark_release", language, **names)})
        before, previous = version, position
    return marks


def experiment_marks(events: Sequence[ExperimentEvent], language: Language) -> list[dict[str, Any]]:
    """Return what changed the traffic of a model."""
    marks = []
    for event in reversed(events):
        action = str(event.data.get("phase", "")) if event.action == REGISTRY else event.action
        if action in (REGISTRY_PHASES if event.action == REGISTRY else EXPERIMENT_ACTIONS):
            values = {"experiment": event.experiment, "coverage": formats.percent(event.coverage, 1)}
            text = message(f"monitor.mark_{action}", language, **values)
            marks.append({"at": event.time, "kind": "experiment", "text": text})
    return marks


def _is_tested(at: float, experiments: Sequence[Experiment]) -> bool:
    """Return True for a time at which an experiment divided the traffic."""
    return any(
        each.kind != "shadow" and each.created <= at and (each.state == "running" or at <= each.changed)
        for each in experiments
    )


def _replaces(series: ActivitySeries, version: str, before: str, position: int) -> bool:
    """Return True if a version is first seen in a bucket, and the one before it never again after that bucket."""
    return not series.versions[version][:position].any() and not series.versions[before][position + 1 :].any()


def _short(version: str) -> str:
    return formats.shortened(version, VERSION_LENGTH) or formats.NONE
