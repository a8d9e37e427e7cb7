"""Stores that an improvement run uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rerankd.experiments.store import ExperimentStore
from rerankd.registry.registry import Registry
from rerankd.traces.store import TraceStore


@dataclass(frozen=True, slots=True)
class Resources:
    """Stores that a run reads and writes.

    Attributes:
        registry: model registry.
        open_traces: opens the database of traces; returns None if there is none yet.
        open_experiments: opens the database of experiments.
        gate_key: key that gate records are signed with; None for no signature.
    """

    registry: Registry
    open_traces: Callable[[], TraceStore | None]
    open_experiments: Callable[[], ExperimentStore]
    gate_key: str | None = None
