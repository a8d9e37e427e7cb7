"""Addresses that the benchmark of the console opens. A new page needs one line in `PAGES`.

Placeholders are filled in anew for each request: `{trace}` (number of a trace), `{tenant}`, `{word}` (a word of
queries), `{since}` and `{until}` (a random hour), `{days_ago}` (a time some days ago).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.console_store import CHINESE, MODELS, RARE_MODEL, SPAN_SECONDS, WORDS, Seeded, tenant_of
from rerankd.traces.pages import ORDERS


@dataclass(frozen=True, slots=True)
class BenchmarkPage:
    """A page to measure.

    Attributes:
        name: name in the results.
        address: path and query below `/console`, with placeholders.
    """

    name: str
    address: str


TRACE_FILTERS = {
    "none": "",
    "last hour": "period=hour",
    "last week": "period=week",
    "an hour": "since={since}&until={until}",
    "tenant with half of all": "tenant=team-0",
    "tenant": "tenant={tenant}",
    "unknown tenant": "tenant=nobody",
    "model": f"model={MODELS[0][0]}",
    "rare model": f"model={RARE_MODEL[0]}",
    "version": f"version={MODELS[2][1]}",
    "rare version": f"version={RARE_MODEL[1]}",
    "experiment": "experiment=reranker-ab",
    "variant": "experiment=reranker-ab&variant=challenger",
    "feedback": "feedback=1",
    "bad case": "case=1",
    "search": "q={word}",
    "search for two words": "q={word}+{word}",
    "search for one letter": "q=e",
    "search without a match": "q=nowhere-to-be-found",
    "search in a tenant": "tenant={tenant}&q={word}",
    "everything": "tenant=team-0&model=mini&experiment=reranker-ab&feedback=1&q={word}&since={days_ago}",
}


def trace_pages() -> Iterator[BenchmarkPage]:
    """Yield the list of traces with every filter in every order, and the page of one trace."""
    for name, query in TRACE_FILTERS.items():
        for order in ORDERS:
            yield BenchmarkPage(f"traces: {name}, {order}", f"/traces?order={order}" + (f"&{query}" if query else ""))
    yield BenchmarkPage("trace", "/traces/{trace}")
    yield BenchmarkPage("trace as JSON", "/traces/{trace}.json")
    yield BenchmarkPage("export of a trace", "/traces/export?id={trace}")


def other_pages() -> Iterator[BenchmarkPage]:
    """Yield the other pages."""
    for window in ("1h", "24h", "7d", "30d"):
        yield BenchmarkPage(f"monitor: {window}", f"/monitor?window={window}")
    yield BenchmarkPage("monitor: 30d, tenant", "/monitor?window=30d&tenant={tenant}")
    yield BenchmarkPage("compare: form", "/compare")
    yield BenchmarkPage("compare: trace", "/compare?trace={trace}")
    yield BenchmarkPage("label: queue", "/label")
    yield BenchmarkPage("label: ranking", "/label/{trace}")
    for name in ("evaluation", "experiments", "models", "history", "ask"):
        yield BenchmarkPage(name, f"/{name}")


PAGES: tuple[BenchmarkPage, ...] = (*trace_pages(), *other_pages())

CLICKS = (
    "/traces",
    "/traces?order=moved",
    "/traces?period=day&order=margin",
    "/traces?q={word}",
    "/traces?feedback=1",
    "/traces?tenant={tenant}&order=slowest",
    "/traces/{trace}",
    "/compare?trace={trace}",
    "/label/{trace}",
    "/monitor?window=24h",
)
"""Addresses that console users click on while rankings are scored."""


class Addresses:
    """Fills in placeholders.

    Args:
        seeded: the store.
        seed: seed of the random values.
    """

    def __init__(self, seeded: Seeded, seed: int = 3) -> None:
        self._seeded, self._draw = seeded, random.Random(seed)

    def fill(self, address: str) -> str:
        """Return the path and query of an address of `BenchmarkPage`."""
        draw, now = self._draw, self._seeded.now
        since = now - draw.uniform(3600, SPAN_SECONDS)
        while "{word}" in address:
            address = address.replace("{word}", draw.choice(WORDS + CHINESE), 1)
        values = {
            "trace": str(draw.randint(1, self._seeded.traces)),
            "tenant": tenant_of(2 * draw.randrange(1, 20)),
            "since": _minute(since),
            "until": _minute(since + 3600),
            "days_ago": _minute(now - 3 * 86_400),
        }
        return "/console" + address.format(**values)


def _minute(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M")
