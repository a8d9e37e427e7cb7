"""The server part of `make bench`: HTTP against the library in process and against Infinity, fairness, overhead.

All contenders are up at the same time and busy in turn, and a ratio is the median of the ratios of the rounds, so that
they share the machine's noise. The processor time of the idle ones is recorded.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import model, workload
from benchmarks.bodies import FixedBodies, RandomBodies
from benchmarks.load import Attempt, ClosedLoop
from benchmarks.load_process import Report
from benchmarks.systems import IdleUsage, Library, Request, System, answered, endpoint, find_infinity, infinity
from benchmarks.timings import median_ratio, percentile
from rerankd.models.families.bert import as_bert
from rerankd.models.files import load_model
from rerankd.scoring.native import library

LARGE_DOCUMENTS, LARGE_CLIENTS, LARGE_CHARACTERS = 500, 4, 120
SMALL_DOCUMENTS, SMALL_PAUSE = 2, 0.1
BLOCK = 100


def _requests(count: int, documents: int, seed: int) -> list[Request]:
    made, _ = workload.requests(count, documents, seed)
    return [(f"{query} ({seed}-{position})", texts) for position, (query, texts) in enumerate(made)]


def throughput(arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare HTTP with the library and with Infinity at several numbers of clients, on the 6-layer shape.

    bf16 is compared where the native kernels run; there int8 runs in them too.
    """
    folder, threads = arguments.models, arguments.threads
    checkpoint = model.make_checkpoint("mini", folder)
    program = None if arguments.no_infinity else find_infinity(arguments.infinity)
    with contextlib.ExitStack() as stack:
        systems: list[System] = []
        for precision in ("fp32", "int8"):
            compiled = model.make_compiled("mini", precision, folder)
            systems.append(Library.start(f"library {precision}", compiled, threads))
            systems.append(stack.enter_context(endpoint(f"http {precision}", compiled, threads)))
        if library.unavailable() is None:
            systems.append(Library.start("library bf16", checkpoint, threads, "bf16"))
            served = endpoint("http bf16", checkpoint, threads, precision="bf16", compile="false")
            systems.append(stack.enter_context(served))
        if program is not None:
            systems.append(stack.enter_context(infinity(program, checkpoint)))
        idlers = IdleUsage(systems)
        for system in systems:
            system.score(_requests(2, arguments.documents, 1), 1)
        rows = [
            row
            for clients in arguments.server_clients
            for row in _rows(_turns(systems, clients, arguments, idlers), clients, arguments)
        ]
        for system in systems:
            if isinstance(system, Library):
                system.worker.close()
    return {
        "shape": "mini",
        "documents": arguments.documents,
        "rounds": arguments.server_rounds,
        "rows": rows,
        "idle_processor_share": idlers.shares,
    }


def _count(clients: int) -> int:
    """Return the requests of a round: two for each client, with a lower and an upper limit."""
    return max(clients, min(2 * clients, 16), 4)


def _turns(
    systems: Sequence[System], clients: int, arguments: argparse.Namespace, idlers: IdleUsage
) -> dict[str, list[float]]:
    """Return the seconds of every system in every round; the order is reversed after each round."""
    seconds: dict[str, list[float]] = {system.name: [] for system in systems}
    for turn in range(arguments.server_rounds):
        requests = _requests(_count(clients), arguments.documents, 1000 * clients + turn)
        for system in systems if turn % 2 else reversed(systems):
            with idlers.watch(system.name):
                seconds[system.name].append(system.score(requests, clients))
        print(f"  server: {clients} clients, round {turn + 1} of {arguments.server_rounds}", file=sys.stderr)
    return seconds


def _rows(seconds: dict[str, list[float]], clients: int, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    pairs = _count(clients) * arguments.documents
    for name, own in seconds.items():
        row: dict[str, Any] = {
            "clients": clients,
            "contender": name,
            "requests": _count(clients),
            "pairs_per_second": round(pairs / statistics.median(own), 2),
        }
        if name.startswith("http"):
            row["to_library"] = round(median_ratio(seconds[name.replace("http", "library")], own), 3)
        if name.startswith("http") and "Infinity" in seconds:
            row["to_infinity"] = round(median_ratio(seconds["Infinity"], own), 2)
        yield row


def fairness(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the latency of small requests beside large ones, with and without fair scheduling, and alone."""
    compiled = model.make_compiled("mini", "int8", arguments.models)
    texts = [text[:LARGE_CHARACTERS] for _, documents in workload.requests(20, 50)[0] for text in documents]
    latencies: dict[str, list[list[Attempt]]] = {"alone": [], "fair": [], "first come": []}
    computed_rates: dict[str, list[float]] = {"fair": [], "first come": []}
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(endpoint(name, compiled, arguments.threads, fairness=flag))
            for name, flag in (("fair", "true"), ("first come", "false"))
        }
        for turn in range(arguments.server_rounds):
            small = RandomBodies.of("small", texts, SMALL_DOCUMENTS, SMALL_DOCUMENTS, 2 * turn)
            many = RandomBodies.of("large", texts, LARGE_DOCUMENTS, LARGE_DOCUMENTS, 2 * turn + 1)
            seconds = arguments.server_seconds
            alone = servers["fair"].load.run(ClosedLoop(small, 1, seconds=min(seconds, 5.0), pause=SMALL_PAUSE))
            latencies["alone"].append(alone.shots[0])
            for name in ("fair", "first come") if turn % 2 else ("first come", "fair"):
                before, began = servers[name].computed_pairs(), time.perf_counter()
                both = servers[name].load.run(
                    ClosedLoop(many, LARGE_CLIENTS, background=True),
                    ClosedLoop(small, 1, seconds=seconds, start=2.0, pause=SMALL_PAUSE, first=1_000_000),
                )
                answered(both.shots[1], name)
                latencies[name].append(both.shots[1])
                computed = servers[name].computed_pairs() - before
                computed_rates[name].append(computed / (time.perf_counter() - began))
                time.sleep(1.0)  # the server notices that nobody waits for the rest
            print(f"  fairness: round {turn + 1} of {arguments.server_rounds}", file=sys.stderr)
    return {
        "shape": "mini",
        "precision": "int8",
        "clients": LARGE_CLIENTS,
        "documents": LARGE_DOCUMENTS,
        "characters": LARGE_CHARACTERS,
        "small_documents": SMALL_DOCUMENTS,
        "pause_ms": SMALL_PAUSE * 1000,
        "rows": [
            _latencies(name, [shot for turn in turns for shot in turn])
            | (
                {"computed_pairs_per_second": round(statistics.median(computed_rates[name]), 1)}
                if name in computed_rates
                else {}
            )
            for name, turns in latencies.items()
        ],
    }


def _latencies(name: str, shots: Sequence[Attempt]) -> dict[str, Any]:
    milliseconds = [shot.latency * 1000 for shot in shots]
    return {
        "order": name,
        "requests": len(shots),
        "p50_ms": round(percentile(milliseconds, 0.5), 1),
        "p95_ms": round(percentile(milliseconds, 0.95), 1),
    }


def overhead(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure the HTTP overhead of sequential requests of one short document with the bundled model, and requests/s.

    Library and server alternate every few requests, so that they share the machine's noise.
    """
    ours: list[float] = []
    through: list[float] = []
    rates: list[float] = []
    in_process = Library.start("library", "mini", arguments.threads)
    with endpoint("http", "mini", arguments.threads) as served:
        for turn in range(arguments.server_rounds * 3 + 1):
            requests = [(f"what does a panda eat? {turn}-{n}", ["Pandas eat bamboo."]) for n in range(BLOCK)]
            inside = [in_process.worker.ask(*request).seconds * 1000 for request in requests]
            (outside,) = served.load.run(ClosedLoop(FixedBodies(requests), 1, BLOCK)).shots
            answered(outside, "rerankd")
            if not turn:
                continue  # the first block warms up
            ours += inside
            through += [shot.latency * 1000 for shot in outside]
            rates.append(_rate(served.load.run(ClosedLoop(_short(turn), 8, 4 * BLOCK))))
    in_process.worker.close()
    return {
        "model": "mini",
        "layers": as_bert(load_model("mini").manifest.architecture, "The bundled model").layers,
        "documents": 1,
        "requests": len(ours),
        "library_p50_ms": round(percentile(ours, 0.5), 2),
        "http_p50_ms": round(percentile(through, 0.5), 2),
        "overhead_ms": round(percentile(through, 0.5) - percentile(ours, 0.5), 2),
        "http_p95_ms": round(percentile(through, 0.95), 2),
        "clients": 8,
        "requests_per_second": round(statistics.median(rates), 1),
    }


def _short(turn: int) -> RandomBodies:
    return RandomBodies.of("what does a panda eat?", ["Pandas eat bamboo."], 1, 1, turn)


def _rate(report: Report) -> float:
    (shots,) = report.shots
    answered(shots, "rerankd")
    return len(shots) / max(shot.done for shot in shots)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all of the server part."""
    return {
        "throughput": throughput(arguments),
        "fairness": fairness(arguments),
        "overhead": overhead(arguments),
    }


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the server part."""
    parser.add_argument("--no-server", action="store_true", help="skip the server part")
    parser.add_argument(
        "--only-server", action="store_true", help="measure only the server part and keep the other results"
    )
    parser.add_argument(
        "--infinity", help="infinity_emb, or the Python beside it; else RERANKD_BENCH_INFINITY, else it is installed"
    )
    parser.add_argument("--no-infinity", action="store_true", help="leave Infinity out")
    parser.add_argument("--server-clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--server-rounds", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--server-seconds", type=float, default=30.0, help="seconds of one round of the fairness part")
