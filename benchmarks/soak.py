"""`make soak`: a minute of overload at ten times capacity: responses, latency, memory and recovery of the server.

Requests arrive as a Poisson process, independent of the server (open loop), and latency counts from the time at which a
request was due. Each has its own texts, so that none is cached or coalesced. A refused request is sent once more after
its Retry-After, if that is before the end of the tail.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, workload
from benchmarks.bodies import RandomBodies
from benchmarks.load import REFUSED, Attempt, ClosedLoop, OpenLoop, pairs_per_second
from benchmarks.load_process import LoadProcess
from benchmarks.machine import processor
from benchmarks.metrics import fetch_metrics
from benchmarks.timings import percentile, spread
from benchmarks.usage import grew_not, processor_seconds, resident_megabytes
from rerankd._common.processor import usable_cores
from tests.integration.serving import serve

RESULT = RESULTS / "soak.json"
LEAST_DOCUMENTS, MOST_DOCUMENTS, CHARACTERS = 2, 50, 60
CLIENTS = 8
WARM_SECONDS = 3.0
WINDOW, STEP = 1.0, 0.25
FULL_SPEED, RECOVERY_SECONDS = 0.9, 2.0
TRUE_SHARE = 0.9
OFFERED_SHARE = 0.95
ALLOWED = (200, *REFUSED)
GAUGES = ("rerankd_queue_size", "rerankd_queue_tokens", "rerankd_queue_capacity_tokens", "rerankd_tokens_per_second")
COUNTERS = ("rerankd_request_refused_total", "rerankd_dropped_pairs_total", "rerankd_engine_failures_total")


class ServerSampler(threading.Thread):
    """Background sampler of the server's memory and gauges.

    Args:
        pid: process id of the server.
        url: address of the server.
    """

    def __init__(self, pid: int, url: str) -> None:
        super().__init__(daemon=True)
        self._pid, self._url = pid, url
        self._ended = threading.Event()
        self.samples: list[tuple[float, float, dict[str, float]]] = []

    def run(self) -> None:
        """Sample twice a second."""
        while not self._ended.wait(0.5):
            self.sample()

    def sample(self) -> float:
        """Take one sample and return the megabytes."""
        megabytes = resident_megabytes(self._pid)
        metrics = fetch_metrics(self._url)
        self.samples.append((time.perf_counter(), megabytes, metrics))
        return megabytes

    def end(self) -> None:
        """Stop."""
        self._ended.set()
        self.join()

    def processor_seconds(self) -> float:
        """Return the processor seconds of the server so far."""
        return processor_seconds(self._pid)


def summary(shots: Sequence[Attempt], load: OpenLoop, capacity: float) -> dict[str, Any]:
    """Summarize the requests of the overload."""
    first = [shot for shot in shots if shot.attempt == 1]
    again = [shot for shot in shots if shot.attempt == 2]
    refused = [shot for shot in first if shot.status in REFUSED]
    accepted = [shot for shot in shots if shot.status == 200]
    span = max((shot.due for shot in first), default=0.0) or 1.0
    return {
        "offered_requests_per_second": round(len(first) / load.seconds, 1),
        "offered_to_capacity": round(sum(shot.pairs for shot in first) / span / capacity, 2),
        "late_ms_p99": round(percentile([(shot.sent - shot.due) * 1000 for shot in shots], 0.99), 1),
        "first": _statuses(first),
        "retries": {
            "made": len(again),
            "due_later": len(refused) - len(again),
            "statuses": _statuses(again),
            "answered": round(sum(shot.status == 200 for shot in again) / len(again), 4) if again else None,
        },
        "refused_without_retry_after": sum(s.status in REFUSED and s.retry_after is None for s in shots),
        "retry_after_seconds": _spread([float(shot.retry_after or 0) for shot in refused]),
        "refusal_ms": _spread([shot.latency * 1000 for shot in refused]),
        "accepted_seconds": _spread([shot.latency for shot in accepted]),
        "pairs_to_capacity": round(pairs_per_second(shots, 0.0, load.seconds) / capacity, 3),
    }


def _statuses(shots: Iterable[Attempt]) -> dict[str, int]:
    counts = Counter(str(shot.status) if shot.status else "no answer" for shot in shots)
    return dict(sorted(counts.items()))


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    """Return median, 99th percentile and maximum; None without values."""
    return spread(values, "p50", "p99", "max", digits=3) if values else None


def recovery(shots: Sequence[Attempt], over: float, seconds: float, capacity: float) -> dict[str, Any]:
    """Return the seconds until the server is back at full speed after the overload.

    Args:
        shots: responses, those to retries included.
        over: end of the overload.
        seconds: length of the period to examine.
        capacity: documents per second before the overload.
    """
    starts = [over + STEP * n for n in range(int((seconds - WINDOW) / STEP) + 1)]
    rates = [pairs_per_second(shots, start, start + WINDOW) / capacity for start in starts]
    full = next((start - over for start, rate in zip(starts, rates, strict=True) if rate >= FULL_SPEED), None)
    return {
        "seconds_to_full_speed": full,
        "windows": [round(rate, 2) for rate in rates[:: int(WINDOW / STEP)]],
        "after": round(pairs_per_second(shots, over + RECOVERY_SECONDS, over + seconds) / capacity, 3),
    }


def missed(report: dict[str, Any], max_queue_seconds: float) -> list[str]:
    """Return the missed targets as sentences; empty if all were met."""
    overload, memory, after = report["overload"], report["memory_megabytes"], report["recovery"]
    other = {s for part in (overload["first"], overload["retries"]["statuses"]) for s in part} - set(map(str, ALLOWED))
    accepted, retries = overload["accepted_seconds"], overload["retries"]
    full = after["seconds_to_full_speed"]
    bars = {
        f"other answers than 200, 429 and 503: {sorted(other)}": not other,
        f"refusals without Retry-After: {overload['refused_without_retry_after']}": not overload[
            "refused_without_retry_after"
        ],
        f"of {retries['made']} who waited as told, {retries['answered']} were answered, below {TRUE_SHARE}": bool(
            retries["made"] and retries["answered"] >= TRUE_SHARE
        ),
        f"99 % of the accepted took {accepted and accepted['p99']} s, more than {max_queue_seconds} s": bool(
            accepted and accepted["p99"] <= max_queue_seconds
        ),
        f"memory grew from {memory['first_half']} to {memory['second_half']} MB": grew_not(
            memory["first_half"], memory["second_half"]
        ),
        f"full speed came back after {full} s, later than {RECOVERY_SECONDS} s": full is not None
        and full <= RECOVERY_SECONDS,
        f"after the overload it ran at {after['after']} of its speed": after["after"] >= FULL_SPEED,
        f"{report['capacity']['refused']} requests were refused while capacity was measured": not report["capacity"][
            "refused"
        ],
        f"only {overload['offered_to_capacity']} x capacity was offered of {report['times']} x": overload[
            "offered_to_capacity"
        ]
        >= OFFERED_SHARE * report["times"],
    }
    return [sentence for sentence, is_met in bars.items() if not is_met]


def _capacity(load: LoadProcess, bodies: RandomBodies, seconds: float, first: int) -> tuple[float, int]:
    """Return documents per second of a closed loop, and its refusals: with any, the figure is too low."""
    end = WARM_SECONDS + seconds
    (shots,) = load.run(ClosedLoop(bodies, CLIENTS, seconds=end, first=first)).shots
    rate = pairs_per_second(shots, WARM_SECONDS, end)
    if not rate:
        raise RuntimeError("The server answered nothing while its capacity was measured.")
    return rate, sum(shot.status != 200 for shot in shots)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run the whole benchmark and return its report."""
    made, source = workload.requests(20, 50)
    texts = [text[:CHARACTERS] for _, documents in made for text in documents]
    bodies = RandomBodies.of("overload", texts, LEAST_DOCUMENTS, MOST_DOCUMENTS, arguments.seed)
    env = {
        "RERANKD_MODEL": arguments.model,
        "RERANKD_THREADS": str(arguments.threads),
        "RERANKD_MAX_QUEUE_SECONDS": str(arguments.max_queue_seconds),
        "RERANKD_CACHE_ENTRIES": "1000",  # full within seconds, so that memory shows what leaks
    }
    with serve(env=env) as served, LoadProcess(f"{served.url}/v1/rerank") as load:
        pairs, refused = _capacity(load, bodies, arguments.capacity_seconds, 2_000_000)
        requests = 2 * pairs / (LEAST_DOCUMENTS + MOST_DOCUMENTS)
        print(f"  capacity: {pairs:.0f} documents/s, {requests:.1f} requests/s", file=sys.stderr)
        watch = ServerSampler(served.process.pid, served.url)
        start, used, began = watch.sample(), watch.processor_seconds(), time.perf_counter()
        watch.start()
        storm = OpenLoop(
            bodies, arguments.times * requests, arguments.seconds, arguments.tail, arguments.retried, arguments.seed
        )
        calm = ClosedLoop(bodies, CLIENTS, seconds=arguments.recovery_seconds, start=arguments.seconds, first=3_000_000)
        report = load.run(storm, calm)
        used = watch.processor_seconds() - used
        watch.end()
        stormy, calmer = report.shots
        time.sleep(1.0)
        after = watch.sample()
        again, _ = _capacity(load, bodies, arguments.capacity_seconds, 4_000_000)
    memory = [(moment - began, megabytes) for moment, megabytes, _ in watch.samples[1:-1]]
    storming = [one for one in memory if one[0] <= arguments.seconds] or memory
    return {
        "machine": {"processor": processor(), "threads": arguments.threads},
        "model": arguments.model,
        "documents": [LEAST_DOCUMENTS, MOST_DOCUMENTS],
        "characters": CHARACTERS,
        "texts": source,
        "max_queue_seconds": arguments.max_queue_seconds,
        "seconds": arguments.seconds,
        "tail": arguments.tail,
        "times": arguments.times,
        "retried_share": arguments.retried,
        "capacity": {
            "clients": CLIENTS,
            "pairs_per_second": round(pairs, 1),
            "requests_per_second": round(requests, 2),
            "refused": refused,
            "pairs_per_second_after": round(again, 1),
        },
        "overload": summary(stormy, storm, pairs),
        "recovery": recovery([*stormy, *calmer], arguments.seconds, arguments.recovery_seconds, pairs)
        | {"newcomers": _statuses(calmer)},
        "memory_megabytes": {
            "start": round(start, 1),
            "first_half": round(max(mb for moment, mb in storming if moment <= arguments.seconds / 2), 1),
            "second_half": round(max(mb for moment, mb in storming if moment > arguments.seconds / 2), 1),
            "peak": round(max(megabytes for _, megabytes in memory), 1),
            "after": round(after, 1),
        },
        "queue": _queue([metrics for _, _, metrics in watch.samples]),
        "processor_share": {
            "server": round(used / report.seconds, 3),
            "generator": round(report.processor_seconds / report.seconds, 3),
        },
        "connections": report.connections,
    }


def _queue(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the highest gauges and the growth of the counters in the server's metrics."""
    maxima = {f"{name}_max": round(max(sample.get(name, 0.0) for sample in samples), 1) for name in GAUGES}
    return maxima | {name: samples[-1].get(name, 0.0) - samples[0].get(name, 0.0) for name in COUNTERS}


def main() -> None:
    """Run, write the report, and exit with 1 if a target was missed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the server is ended on the way out
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of overload")
    parser.add_argument(
        "--tail", type=float, default=60.0, help="seconds after the overload in which refused requests are retried"
    )
    parser.add_argument("--max-queue-seconds", type=float, default=5.0)
    parser.add_argument("--times", type=float, default=10.0, help="offered load relative to capacity")
    parser.add_argument("--retried", type=float, default=1.0, help="share of refused requests that are retried")
    parser.add_argument("--capacity-seconds", type=float, default=15.0)
    parser.add_argument("--recovery-seconds", type=float, default=8.0)
    parser.add_argument("--model", default="mini", help="bundled model or folder")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    report = measure(arguments)
    report["missed"] = missed(report, arguments.max_queue_seconds)
    text = json.dumps(report, indent=2, ensure_ascii=False)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)
    for sentence in report["missed"]:
        print(f"Missed: {sentence}.", file=sys.stderr)
    sys.exit(1 if report["missed"] else 0)


if __name__ == "__main__":
    main()
