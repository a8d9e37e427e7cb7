"""The console over 100,000 traces: first byte of every page, and what its users cost the scoring path.

`python -m benchmarks.console` seeds SQLite and a PostgreSQL of its own, opens every page of
`benchmarks/console_pages.py` and notes the time to the first byte. Then `/v1/rerank` is asked in turns with and without
three people who click on pages. Results: benchmarks/results/console.json. Exit code 1: a bar was missed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from benchmarks import RESULTS
from benchmarks.bodies import RandomBodies
from benchmarks.console_pages import CLICKS, PAGES, Addresses
from benchmarks.console_store import Seeded, seed
from benchmarks.load import ClosedLoop
from benchmarks.load_process import LoadProcess
from benchmarks.machine import machine
from benchmarks.timings import median_ratio, percentile, spread
from tests.integration.postgres import running_postgres
from tests.integration.serving import serve

RESULT = RESULTS / "console.json"
MAX_P95_MS = 200.0
MIN_RATIO = 0.97
USERS = 3
PAUSE_SECONDS = 2.0  # of a user between two clicks, mean
DOCUMENTS, CLIENTS = 10, 4
SAFE = "/?&=:+-_."
ENVIRONMENT = {"RERANKD_CACHE": "false", "RERANKD_MAX_QUEUE_SECONDS": "600"}


class Browser:
    """An HTTP client that keeps its connection, as a browser does.

    Args:
        url: address of the service.
    """

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def first_byte(self, path: str) -> float:
        """Return the seconds until the first byte of a page's content; the rest of it is read afterwards.

        Raises:
            RuntimeError: the page did not answer with 200.
        """
        began = time.perf_counter()
        response = self._open(path)
        response.read(1)
        seconds = time.perf_counter() - began
        response.read()
        if response.status != 200:
            raise RuntimeError(f"{path} answered {response.status}.")
        return seconds

    def _open(self, path: str) -> http.client.HTTPResponse:
        """Ask for a page; once more on a new connection if the server has closed the idle one."""
        try:
            return self._ask(path)
        except ConnectionError:
            self._connection.close()
            return self._ask(path)

    def _ask(self, path: str) -> http.client.HTTPResponse:
        self._connection.request("GET", quote(path, safe=SAFE))
        return self._connection.getresponse()


def pages(url: str, seeded: Seeded, requests: int) -> dict[str, Any]:
    """Return the milliseconds to the first byte of every page."""
    addresses, browser = Addresses(seeded), Browser(url)
    times: dict[str, list[float]] = {page.name: [] for page in PAGES}
    for turn in range(requests + 1):
        for page in PAGES:
            seconds = browser.first_byte(addresses.fill(page.address))
            if turn:  # the first warms up
                times[page.name].append(1000 * seconds)
    rows = {name: spread(milliseconds, "p50", "p95") for name, milliseconds in times.items()}
    worst = max(rows, key=lambda name: rows[name]["p95"])
    every = [value for milliseconds in times.values() for value in milliseconds]
    return {"worst": {"page": worst, **rows[worst]}, "all": spread(every, "p50", "p95", "max"), "pages": rows}


def scoring(url: str, seeded: Seeded, turns: int, requests: int) -> dict[str, Any]:
    """Compare the throughput of `/v1/rerank` with and without console users, in alternating turns."""
    draw = random.Random(4)
    words = [f"word{number}" for number in range(2000)]
    texts = [" ".join(draw.choices(words, k=60)) for _ in range(2000)]
    bodies = RandomBodies.of("question", texts, DOCUMENTS, DOCUMENTS)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    clicks = 0
    with LoadProcess(f"{url}/v1/rerank") as load, Users(url, seeded) as users:
        for turn in range(turns + 1):
            for active in (False, True) if turn % 2 else (True, False):
                before = users.clicks
                with users.clicking(active):
                    loop = ClosedLoop(bodies, CLIENTS, requests, first=(2 * turn + active) * requests)
                    (attempts,) = load.run(loop).shots
                if any(attempt.status != 200 for attempt in attempts):
                    raise RuntimeError("A ranking was not answered.")
                if turn:  # the first warms up
                    took = max(attempt.done for attempt in attempts) - min(attempt.sent for attempt in attempts)
                    seconds[active].append(took)
                    clicks += users.clicks - before
            if turn:
                print(f"turn {turn}: {seconds[False][-1] / seconds[True][-1]:.3f}", file=sys.stderr, flush=True)
    return {
        "users": USERS,
        "pause_seconds": PAUSE_SECONDS,
        "clicks_per_second": round(clicks / sum(seconds[True]), 2),
        "documents": DOCUMENTS,
        "clients": CLIENTS,
        "requests_per_turn": requests,
        "requests_per_second": round(requests / percentile(seconds[True], 0.5), 2),
        "throughput_with_users_to_without": round(median_ratio(seconds[False], seconds[True]), 3),
        "ratios": [round(quiet / busy, 3) for quiet, busy in zip(seconds[False], seconds[True], strict=True)],
    }


class Users:
    """People who click on pages while `clicking`, each in a process that is started beforehand and ends with the block.

    Args:
        url: address of the service.
        seeded: its store.
    """

    def __init__(self, url: str, seeded: Seeded) -> None:
        context = multiprocessing.get_context("spawn")
        self._active, self._stopped, self._clicks = context.Event(), context.Event(), context.Value("i", 0)
        events = (self._active, self._stopped, self._clicks)
        self._workers = [context.Process(target=_click, args=(url, seeded, n, *events)) for n in range(USERS)]

    def __enter__(self) -> Users:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._active.set()
        for worker in self._workers:
            worker.join(60)

    @property
    def clicks(self) -> int:
        """Clicks so far."""
        return int(self._clicks.value)

    @contextlib.contextmanager
    def clicking(self, active: bool) -> Iterator[None]:
        """Click during the block, if `active`.

        Raises:
            RuntimeError: a page did not answer.
        """
        if active:
            self._active.set()
        yield
        self._active.clear()
        if not all(worker.is_alive() for worker in self._workers):
            raise RuntimeError("A console user got no answer.")


def _click(url: str, seeded: Seeded, number: int, active: Any, stopped: Any, clicks: Any) -> None:
    draw, addresses, browser = random.Random(number), Addresses(seeded, number), Browser(url)
    while True:
        active.wait()
        if stopped.wait(draw.expovariate(1 / PAUSE_SECONDS)):
            return
        if active.is_set():
            browser.first_byte(addresses.fill(draw.choice(CLICKS)))
            with clicks.get_lock():
                clicks.value += 1


@contextlib.contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """Yield an empty database of each kind."""
    (folder / "postgres").mkdir()
    folder.chmod(0o755)
    with running_postgres(folder / "postgres") as postgres:
        yield {"sqlite": f"sqlite:///{folder}/traces.sqlite", "postgresql": postgres.fresh("traces")}


def missed(result: dict[str, Any]) -> list[str]:
    """Return a sentence for each bar that a result misses."""
    sentences = []
    for name in ("sqlite", "postgresql"):
        rows = result.get(name, {}).get("pages", {})
        slow = {page: row["p95"] for page, row in rows.items() if row["p95"] >= MAX_P95_MS}
        sentences += [f"{name}: {page}: first byte p95 {value} ms" for page, value in slow.items()]
    ratio = result.get("scoring", {}).get("throughput_with_users_to_without", 1.0)
    if ratio < MIN_RATIO:
        sentences.append(f"scoring: {ratio} x the throughput with console users")
    return sentences


def main() -> None:
    """Run the benchmark, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=20, help="of each page")
    parser.add_argument("--turns", type=int, default=7, help="of the scoring path")
    parser.add_argument("--rankings", type=int, default=100, help="of each turn")
    parser.add_argument("--only", choices=("pages", "scoring"))
    args = parser.parse_args()
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result |= {"machine": machine(os.cpu_count() or 1), "traces": args.traces}
    with tempfile.TemporaryDirectory(prefix="rerankd-console-") as folder, databases(Path(folder)) as urls:
        for name, database in urls.items():
            if args.only == "scoring" and name != "sqlite":
                continue
            began = time.perf_counter()
            seeded = seed(database, args.traces)
            print(f"{name}: {args.traces:,} traces in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
            with serve(env=ENVIRONMENT | {"RERANKD_TRACES_URL": database}) as served:
                if args.only != "scoring":
                    result[name] = pages(served.url, seeded, args.requests)
                    print(json.dumps({name: result[name]["worst"]}), flush=True)
                if args.only != "pages" and name == "sqlite":
                    result["scoring"] = scoring(served.url, seeded, args.turns, args.rankings)
                    print(json.dumps({"scoring": result["scoring"]}, indent=1), flush=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    for sentence in missed(result):
        print(f"MISSED {sentence}", file=sys.stderr)
    if missed(result):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
