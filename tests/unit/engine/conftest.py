"""Engines over a scripted backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rerankd.engine.engine import Engine
from tests.faults import ScriptedBackend, scripted_scorer
from tests.unit.engine.scripted import (
    Heard,
)


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def make(backend: ScriptedBackend, heard: Heard) -> Iterator[Callable[..., Engine]]:
    made: list[Engine] = []

    def one(**options: Any) -> Engine:
        engine = Engine("m", "v1", scripted_scorer(backend), observer=heard, **options)
        engine.admission.rate.observe(10**6, 1.0)  # as warming up does
        made.append(engine)
        return engine

    yield one
    backend.gate.set()
    for engine in made:
        engine.close(1.0)
