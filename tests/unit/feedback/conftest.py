from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rerankd.traces.store import TraceStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TraceStore]:
    opened = TraceStore(f"sqlite:///{tmp_path}/traces.sqlite")
    yield opened
    opened.close()
