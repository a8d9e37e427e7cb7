"""Benchmark requests: one query and N documents, Chinese and English mixed, log-normal lengths, seeded."""

from __future__ import annotations

import random
import runpy
from pathlib import Path

from benchmarks.model import SHARED
from rerankd.demo import load_traps

Request = tuple[str, list[str]]


def requests(count: int, documents: int = 50, seed: int = 7) -> tuple[list[Request], str]:
    """Return the requests and the name of the source of their texts."""
    script = SHARED / "bench" / "workload.py"
    if script.exists():
        made: list[Request] = runpy.run_path(str(script))["requests"](count, documents, seed)
        return made, "passages of four data packs"
    return _bundled(count, documents, seed), f"bundled texts ({Path(__file__).name})"


def _bundled(count: int, documents: int, seed: int) -> list[Request]:
    draw = random.Random(seed)
    traps = load_traps()
    pieces = [text for trap in traps for text in trap.documents]

    def passage() -> str:
        text = " ".join(draw.choices(pieces, k=20))
        return text[: int(len(text) * min(max(0.15, draw.lognormvariate(-0.7, 0.6)), 1.0))]

    return [(draw.choice(traps).query, [passage() for _ in range(documents)]) for _ in range(count)]
