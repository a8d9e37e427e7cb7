"""A service whose rankings are labelled, and its rankings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rerankd.feedback.case_store import add_cases, list_cases
from rerankd.feedback.detectors import Detection
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.trace import build_trace
from rerankd.types import Document
from tests.integration.serving import serve
from tests.unit.traces.rankings import ranking

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202egnp.exe\u200b\x1b[31m'\"</script>{{7*7}}"
LONG = "x" * 1_000_000


def add_ranking(
    store: TraceStore, name: str, severity: float = 0.0, *, tenant: str = "", margin: float = 1.0, texts: int = 12
) -> int:
    """Write a ranking, which is a case if it has a severity; return the number of the trace or of the case."""
    documents = [Document(f"{name} passage {index}", f"{name}-{index}") for index in range(texts)]
    scores = [float(texts - index) * margin for index in range(texts)]
    record = ranking(f"query of {name}", documents, scores, request_id=name, tenant=tenant)
    store.write([build_trace(record)])
    (full,) = store.load(store.list_traces(TraceFilter(request_id=name, tenant=tenant)))
    if not severity:
        return full.trace.id
    add_cases(store, full, [Detection("chosen_low", 4, severity, "document 4 was chosen from rank 5")])
    return next(case.id for case in list_cases(store) if case.request_id == name)


@dataclass
class Labelled:
    """A server and the store behind it."""

    url: str
    store: TraceStore
    database: str


@contextmanager
def open_labelled(folder: Path) -> Iterator[Labelled]:
    """Start a server without keys."""
    database = f"sqlite:///{folder}/traces.sqlite"
    store = TraceStore(database)
    with serve(env={"RERANKD_TRACES_URL": database}) as served:
        yield Labelled(served.url, store, database)
    store.close()
