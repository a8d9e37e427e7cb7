"""Failover benchmark: two instances behind nginx under steady load are killed and restarted; no request may fail.

`python -m benchmarks.failover`. Rounds follow one another as fast as instances become ready: one instance is killed and
started again, then both are restarted with SIGTERM, one after the other. Each request has its own texts, so that none
is cached. Latency counts in two groups: requests answered while an instance was away or draining, and all others.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, workload
from benchmarks.bodies import RandomBodies
from benchmarks.load import Attempt, ClosedLoop
from benchmarks.load_process import LoadProcess
from benchmarks.machine import processor
from benchmarks.timings import spread
from rerankd._common.processor import usable_cores
from tests.integration.nginx import Instance, Proxy, instances, proxy

RESULT = RESULTS / "failover.json"
CLIENTS, PAUSE_SECONDS = 16, 0.25
LEAST_DOCUMENTS, MOST_DOCUMENTS, CHARACTERS = 2, 10, 60
DRAIN_SECONDS = "2"
SLICE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Event:
    """Period in which an instance was away or draining, in seconds since the load began."""

    kind: str
    start: float
    end: float


def bodies() -> RandomBodies:
    """Return small request bodies."""
    made, _ = workload.requests(20, 50)
    texts = [text[:CHARACTERS] for _, documents in made for text in documents]
    return RandomBodies.of("failover", texts, LEAST_DOCUMENTS, MOST_DOCUMENTS)


def disturb(made: Sequence[Instance], began: float, seconds: float) -> list[Event]:
    """Kill and restart instances in rounds until another round would not fit; at least one round."""
    events: list[Event] = []

    def note(kind: str, start: float) -> None:
        events.append(Event(kind, start - began, time.perf_counter() - began))

    longest, number = 0.0, 0
    while not events or time.perf_counter() - began + longest < seconds:
        round_began = time.perf_counter()
        victim = made[number % len(made)]
        victim.kill()
        victim.start()
        note("kill -9", round_began)
        for one in made:
            moment = time.perf_counter()
            one.restart()
            note("SIGTERM", moment)
        longest = max(longest, time.perf_counter() - round_began)
        number += 1
    return events


def run(made: Sequence[Instance], front: Proxy, seconds: float, pause: float) -> tuple[list[Attempt], list[Event]]:
    """Disturb the instances under load; the load lasts a little longer."""
    shots: list[Attempt] = []
    with LoadProcess(f"{front.url}/v1/rerank") as load, ThreadPoolExecutor(1) as threads:
        load.run(ClosedLoop(bodies(), CLIENTS, CLIENTS * 4, first=5_000_000))
        began = time.perf_counter()
        disturbing: Future[list[Event]] | None = None
        while disturbing is None or not disturbing.done():
            start = time.perf_counter() - began
            (part,) = load.run(
                ClosedLoop(bodies(), CLIENTS, seconds=SLICE_SECONDS, pause=pause, first=len(shots))
            ).shots
            shots += [replace(s, due=s.due + start, sent=s.sent + start, done=s.done + start) for s in part]
            disturbing = disturbing or threads.submit(disturb, made, began, seconds)
        return shots, disturbing.result()


def summary(shots: Sequence[Attempt], events: Sequence[Event], retried: int) -> dict[str, Any]:
    """Summarize the requests: failures, retries, and latency with and without a disturbance."""
    during = [shot for shot in shots if any(event.start <= shot.done <= event.end for event in events)]
    apart = set(map(id, during))
    calm = [shot for shot in shots if id(shot) not in apart]
    return {
        "requests": len(shots),
        "failed": sum(shot.status != 200 for shot in shots),
        "statuses": dict(Counter(str(shot.status) for shot in shots)),
        "requests_per_second": round(len(shots) / max(shot.done for shot in shots), 1),
        "sent_to_a_second_instance": retried,
        "events": dict(Counter(event.kind for event in events)),
        "seconds_away": {
            kind: round(max(event.end - event.start for event in events if event.kind == kind), 2)
            for kind in {event.kind for event in events}
        },
        "steady_ms": latency(calm),
        "failover_ms": latency(during),
    }


def latency(shots: Sequence[Attempt]) -> dict[str, float]:
    """Return the percentiles of the latency in milliseconds."""
    values = [shot.latency * 1000 for shot in shots]
    return {"requests": len(values), **spread(values, "p50", "p95", "p99", "max")}


def measure(seconds: float, pause: float = PAUSE_SECONDS) -> dict[str, Any]:
    """Run the whole benchmark and return its report."""
    with instances(2, RERANKD_DRAIN_SECONDS=DRAIN_SECONDS) as made, proxy([one.address for one in made]) as front:
        shots, events = run(made, front, seconds, pause)
        retried = sum("," in json.loads(line)["instance"] for line in front.access_log.splitlines())
    return {
        "machine": {"processor": processor(), "cores": usable_cores()},
        "instances": {"count": 2, "threads": 1, "model": "mini", "drain_seconds": float(DRAIN_SECONDS)},
        "load": {
            "clients": CLIENTS,
            "pause_seconds": pause,
            "documents": [LEAST_DOCUMENTS, MOST_DOCUMENTS],
            "characters": CHARACTERS,
            "seconds": seconds,
        },
        **summary(shots, events, retried),
    }


def main() -> None:
    """Run, write the report, and exit with 1 if a request failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything is ended on the way out
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=90.0, help="seconds of disturbances")
    parser.add_argument(
        "--pause", type=float, default=PAUSE_SECONDS, help="seconds that a client waits between requests"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    report = measure(arguments.seconds, arguments.pause)
    text = json.dumps(report, indent=2, ensure_ascii=False)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    if report["failed"]:
        print(f"Missed: {report['failed']} requests failed.", file=sys.stderr)
    sys.exit(1 if report["failed"] else 0)


if __name__ == "__main__":
    main()
