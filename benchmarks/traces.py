"""The trace store: ingest, queries, bytes, and the cost for a server: `python -m benchmarks.traces`.

100,000 traces of 50 candidates go through the writer into SQLite and into a PostgreSQL of its own. Passages are drawn
from a corpus as rankings draw them: popular ones often, most of them rarely. Results: benchmarks/results/traces.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.bodies import RandomBodies
from benchmarks.load import ClosedLoop
from benchmarks.load_process import LoadProcess
from benchmarks.timings import percentile
from rerankd.feedback.detection import CaseDetector
from rerankd.feedback.events import FeedbackEvent
from rerankd.feedback.monitoring import MonitorWindows, monitor
from rerankd.feedback.store import add_feedback
from rerankd.traces.hashing import encode_text
from rerankd.traces.store import TraceFilter, TraceStore
from rerankd.traces.writer import TraceWriter, WriterOptions
from rerankd.types import Document, PairScore, RankingRecord, RerankRequest
from tests.integration.postgres import running_postgres
from tests.integration.serving import serve

RESULT = RESULTS / "traces.json"
CANDIDATES, TENANTS, CORPUS, QUERIES = 50, 20, 100_000, 200
SPAN_SECONDS = 24 * 3600.0


class Rankings:
    """Random rankings of one day, determined by the seed."""

    def __init__(self, seed: int = 1) -> None:
        self._draw = random.Random(seed)
        words = [
            "".join(self._draw.choices("abcdefghijklmnoprstuvw", k=self._draw.randint(2, 10))) for _ in range(8000)
        ]
        common = [1 / (position + 10) for position in range(len(words))]
        self.texts = [" ".join(self._draw.choices(words, common, k=self._draw.randint(40, 120))) for _ in range(CORPUS)]
        self._now = time.time()

    def make(self, number: int, of: int) -> RankingRecord:
        """Return one ranking."""
        draw = self._draw
        positions = {int(CORPUS * draw.random() ** 3) for _ in range(CANDIDATES * 2)}
        documents = [
            Document(self.texts[position]) for position in sorted(positions, key=lambda _: draw.random())[:CANDIDATES]
        ]
        tenant, name = f"team-{number % TENANTS}", f"{number:032x}"
        request = RerankRequest(
            f"question {number // 2} of somebody", documents, 5, request_id=name, tenant=tenant, source="http"
        )
        scores = [PairScore(draw.gauss(0, 4), 120, False) for _ in documents]
        at = self._now - SPAN_SECONDS * (1 - number / of)
        timings = {"tokenization": 2.0, "queue": 1.0, "inference": 30.0, "total": 34.0}
        return RankingRecord(request, scores, "mini", "0123456789abcdef", 512, timings, 0, at)


def ingest(url: str, traces: int, rankings: Rankings) -> dict[str, float]:
    """Send traces through the writer at full speed; the time to draw them does not count."""
    store = TraceStore(url)
    writer = TraceWriter(lambda: store, WriterOptions(max_queued=20_000, max_queued_bytes=2_000_000_000))
    seconds = processor = 0.0
    plain = 0
    for start in range(0, traces, 5000):
        made = [rankings.make(number, traces) for number in range(start, min(start + 5000, traces))]
        plain += sum(len(encode_text(one.text)) for ranking in made for one in ranking.request.documents)
        plain += sum(len(encode_text(ranking.request.query)) for ranking in made)
        began, spent = time.perf_counter(), time.process_time()
        for ranking in made:
            writer.record(ranking)
        if not writer.flush(600):
            raise RuntimeError("The writer did not keep up.")
        seconds, processor = seconds + time.perf_counter() - began, processor + time.process_time() - spent
    size = store.size()
    writer.close()
    return {
        "traces_per_second": round(traces / seconds, 1),
        "processor_ms_per_trace": round(processor / traces * 1000, 3),
        "bytes_per_trace": round(size / traces),
        "bytes_per_trace_texts_repeated": round(plain / traces),
    }


def queries(url: str, traces: int) -> dict[str, dict[str, float]]:
    """Return the latency of the console's queries, each with another tenant or trace every time."""
    store, draw, now = TraceStore(url), random.Random(2), time.time()

    def tenant() -> str:
        return f"team-{draw.randrange(TENANTS)}"

    calls: dict[str, Callable[[], object]] = {
        "last hour of a tenant": lambda: store.list_traces(TraceFilter(tenant(), now - 3600), limit=50),
        "one trace with its texts": lambda: store.find_trace(f"{draw.randrange(traces):032x}"),
        "worst margins of an hour": lambda: store.list_traces(TraceFilter(since=now - 3600), limit=50, order="margin"),
        "worst margins of a tenant's day": lambda: store.list_traces(
            TraceFilter(tenant(), now - SPAN_SECONDS), limit=50, order="margin"
        ),
        "worst margins of all": lambda: store.list_traces(limit=50, order="margin"),
    }
    milliseconds = {}
    for name, ask in calls.items():
        times = []
        for _ in range(QUERIES if name != "worst margins of all" else 50):
            began = time.perf_counter()
            ask()
            times.append((time.perf_counter() - began) * 1000)
        milliseconds[name] = {"p50_ms": round(percentile(times, 0.5), 2), "p95_ms": round(percentile(times, 0.95), 2)}
    store.close()
    return milliseconds


def upkeep(url: str, traces: int) -> dict[str, float]:
    """Return the seconds of the periodic tasks, with a click on every tenth trace of the last hour."""
    store, now = TraceStore(url), time.time()
    judged = store.list_traces(TraceFilter(since=now - 3600), limit=traces)[::10]
    clicks = [FeedbackEvent(trace.request_id, "click", 7, tenant=trace.tenant) for trace in judged]
    add_feedback(store, clicks)
    detector, seconds = CaseDetector(), dict[str, float]()
    works: dict[str, Callable[[], object]] = {
        "detect_first_seconds": lambda: detector(store),
        "detect_again_seconds": lambda: detector(store),
        "monitor_seconds": lambda: monitor(store, MonitorWindows(3600.0, 604_800.0)),
    }
    for name, work in works.items():
        began = time.perf_counter()
        work()
        seconds[name] = round(time.perf_counter() - began, 2)
    store.close()
    return seconds | {"clicks": float(len(clicks))}


def server(turns: int, requests: int, rankings: Rankings) -> dict[str, Any]:
    """Compare two servers, one of which traces, by alternating requests of 50 documents; the ratio is the median."""
    bodies = RandomBodies.of("question", rankings.texts[:2000], CANDIDATES, CANDIDATES)
    ratios, speeds = [], []
    with contextlib.ExitStack() as stack:
        loads = []
        for traced in ("false", "true"):
            env = {"RERANKD_TRACES": traced, "RERANKD_CACHE": "false", "RERANKD_MAX_QUEUE_SECONDS": "600"}
            served = stack.enter_context(serve(env=env))
            loads.append(stack.enter_context(LoadProcess(f"{served.url}/v1/rerank")))
        for turn in range(turns + 1):
            seconds = []
            for load in loads if turn % 2 else reversed(loads):
                report = load.run(ClosedLoop(bodies, 4, requests, first=turn * requests))
                shots = report.shots[0]
                if any(shot.status != 200 for shot in shots):
                    raise RuntimeError("A request was not answered.")
                seconds.append(max(shot.done for shot in shots) - min(shot.sent for shot in shots))
            off, on = seconds if turn % 2 else reversed(seconds)
            if turn:  # the first warms up
                ratios.append(off / on)
                print(f"turn {turn}: {off / on:.3f}", file=sys.stderr, flush=True)
                speeds.append(requests / on)
    return {
        "requests_per_second_traced": round(statistics.median(speeds), 2),
        "throughput_traced_to_untraced": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "requests_per_turn": requests,
    }


@contextlib.contextmanager
def databases(folder: Path) -> Iterator[dict[str, str]]:
    """Yield an empty database of each kind."""
    (folder / "postgres").mkdir()
    folder.chmod(0o755)
    with running_postgres(folder / "postgres") as postgres:
        version = subprocess.run(
            [postgres.programs / "postgres", "--version"], capture_output=True, text=True, check=True
        )
        print(version.stdout.strip(), file=sys.stderr)
        yield {"sqlite": f"sqlite:///{folder}/traces.sqlite", "postgresql": postgres.fresh("traces")}


def main() -> None:
    """Run the benchmark, print and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--requests", type=int, default=120)
    parser.add_argument("--only", choices=("store", "server"))
    args = parser.parse_args()
    rankings = Rankings()
    result: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    result["machine"] = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    result["load_average_at_start"] = round(os.getloadavg()[0], 1)
    if args.only != "server":
        result |= {"traces": args.traces, "candidates": CANDIDATES, "corpus": CORPUS}
        with tempfile.TemporaryDirectory(prefix="rerankd-traces-") as folder, databases(Path(folder)) as urls:
            for name, url in urls.items():
                result[name] = ingest(url, args.traces, rankings) | {"queries": queries(url, args.traces)}
                result[name]["upkeep"] = upkeep(url, args.traces)
                print(json.dumps({name: result[name]}, indent=1), flush=True)
    if args.only != "store":
        result["server"] = server(args.turns, args.requests, rankings)
        print(json.dumps(result["server"], indent=1))
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
