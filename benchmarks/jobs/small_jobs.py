"""Small jobs: a query with a few short documents each."""

from __future__ import annotations

import random
import time

from benchmarks.jobs.worker import MeasuredWorker
from rerankd.demo import load_traps
from rerankd.jobs.results import result_rows
from rerankd.jobs.work import RankWork
from rerankd.types import Document, RerankRequest

DOCUMENT_CHARACTERS = 100
LATENCY = ("p50", "p95", "max")
Request = tuple[str, list[str]]


def requests(count: int, documents: int, characters: int, seed: int, mark: str = "") -> list[Request]:
    """Small requests of bundled texts; every document is another, so that none is cached or shared.

    Another mark makes other texts of the same length.
    """
    draw = random.Random(seed)
    traps = load_traps()
    texts = [text for trap in traps for text in trap.documents]

    def document(number: int) -> str:
        return f"{seed} {number} {mark} {' '.join(draw.choices(texts, k=8))}"[:characters]

    return [
        (
            f"{draw.choice(traps).query} {seed} {n}",
            [document(n * documents + position) for position in range(documents)],
        )
        for n in range(count)
    ]


def ranking(request: Request) -> RankWork:
    """Return a request as the work of a job."""
    query, documents = request
    return RankWork(RerankRequest(query, [Document(text) for text in documents]))


def latency(measured_worker: MeasuredWorker, request: Request) -> float:
    """Return the seconds from submitting a job to receiving its result."""
    begun = time.perf_counter()
    job, _ = measured_worker.queue.submit([ranking(request)])
    measured_worker.ends.wait([job.id])
    (row,) = result_rows(measured_worker.queue.store.results(job.id))
    if not row or len(row["results"]) != len(request[1]):
        raise RuntimeError("A job has no result.")
    return time.perf_counter() - begun
