"""`rerankd bench`: the speed of a model on this machine."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer
from rich.progress import track
from rich.table import Table

from rerankd.cli import options
from rerankd.cli.output import stderr, stdout, wants_json, write_rows
from rerankd.demo import load_pairs, load_traps
from rerankd.reranker import Reranker
from rerankd.settings import load_settings


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured speed: medians over requests; latencies in milliseconds per request."""

    model: str
    backend: str
    documents: int
    requests: int
    tokens_per_pair: float
    pairs_per_second: float
    tokens_per_second: float
    p50_ms: float
    p95_ms: float


@options.setting_flags(
    "model", "device", "backend", "precision", "max_batch_tokens", "max_length", "instruction", "threads"
)
def bench(
    requests: Annotated[int, typer.Option(min=1, max=10_000, help="Requests to time, after one warm-up request.")] = 10,
    documents: Annotated[int, typer.Option(min=1, max=10_000, help="Documents per request.")] = 50,
    characters: Annotated[int, typer.Option(min=1, max=100_000, help="Mean length of a document in characters.")] = 300,
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Measure throughput and latency on documents of mixed length and language, one request at a time."""
    reranker = options.open_reranker(load_settings(**flags))
    speed = measure(reranker, requests, documents, characters)
    if wants_json(as_json):
        write_rows([asdict(speed)])
        return
    table = Table(show_header=False)
    for name, value in asdict(speed).items():
        table.add_row(name, f"{value:.1f}" if isinstance(value, float) else str(value))
    stdout().print(table)


def measure(reranker: Reranker, requests: int, documents: int, characters: int) -> Speed:
    """Time `requests` rankings of `documents` seeded texts; lengths are log-normal around `characters`."""
    draw = random.Random(7)  # noqa: S311  a seeded workload, not a secret
    pieces = [text for trap in load_traps() for text in trap.documents]
    queries = [pair.query for pair in load_pairs()]

    seconds, tokens = [], 0
    for request in track(range(requests + 1), "measuring", console=stderr(), transient=True):
        texts = [passage(draw, pieces, characters) for _ in range(documents)]
        started = time.perf_counter()
        result = reranker.rank(draw.choice(queries), texts, top_n=None)
        if request:  # the first one is the warm-up
            seconds.append(time.perf_counter() - started)
            tokens += result.usage.tokens
    total = sum(seconds)
    ordered = sorted(seconds)
    return Speed(
        reranker.model,
        reranker.backend,
        documents,
        requests,
        tokens / (requests * documents),
        documents / statistics.median(seconds),
        tokens / total,
        statistics.median(seconds) * 1000,
        ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1000,
    )


def passage(draw: random.Random, pieces: Sequence[str], characters: int) -> str:
    """Return a text of log-normal length around `characters`, joined from pieces."""
    length = max(8, int(characters * draw.lognormvariate(-0.18, 0.6)))
    text = ""
    while len(text) < length:
        text += draw.choice(pieces) + " "
    return text[:length]
