"""The capacity formula of docs/scale.md against measurement, for one and two instances behind nginx.

`python -m benchmarks.sizing`. Instances have one thread and are pinned to a core each. The formula is given the speed
that `rerankd bench` measures on one core at the mean document length. Prediction and measurement alternate, and the
round with the median ratio counts, so that both share the machine's noise. The load generator and nginx use the same
cores; their cost is part of the result where every core has an instance.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.bodies import RandomBodies
from benchmarks.load import ClosedLoop, OpenLoop
from benchmarks.load_process import LoadProcess
from benchmarks.machine import processor
from benchmarks.metrics import fetch_metrics
from benchmarks.timings import percentile, spread
from rerankd._common.processor import usable_cores
from rerankd.cli.bench import passage
from rerankd.demo import load_traps
from tests.integration.nginx import Instance, instances, proxy

RESULT = RESULTS / "sizing.json"
CLIENTS = 8
WARM_SECONDS = 2.0
POINTS = ((10, 300), (50, 100), (20, 900))
TURNS = 3
QUEUE_SECONDS = 120.0  # so that nothing is refused while it is saturated
SHARES = (0.5, 0.7, 0.85)


@dataclass(frozen=True, slots=True)
class SizingResult:
    """Requests per second at saturation, predicted and measured; `ratios` holds those of all rounds."""

    instances: int
    documents: int
    characters: int
    tokens_per_request: float
    bench_tokens_per_second: float
    predicted: float
    measured: float
    ratio: float
    ratios: list[float]


def bench(characters: int) -> float:
    """Return the tokens per second of the library on one core."""
    command = ["taskset", "--cpu-list", "0", sys.executable, "-m", "rerankd", "bench", "--json", "--threads", "1"]
    lengths = ["--characters", str(characters), "--requests", "4", "--documents", "50"]
    done = subprocess.run([*command, *lengths], check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["tokens_per_second"])


def bodies(documents: int, characters: int) -> RandomBodies:
    """Return requests with the texts of `rerankd bench`."""
    draw = random.Random(7)
    pieces = [text for trap in load_traps() for text in trap.documents]
    texts = [passage(draw, pieces, characters) for _ in range(1000)]
    return RandomBodies.of("how many instances", texts, documents, documents)


def computed(made: Sequence[Instance]) -> tuple[float, float]:
    """Return the tokens and pairs that the instances have computed so far."""
    totals = [0.0, 0.0]
    for one in made:
        samples = fetch_metrics(one.url)
        totals[0] += samples.get("rerankd_computed_tokens_total", 0.0)
        totals[1] += samples.get("rerankd_computed_pairs_total", 0.0)
    return totals[0], totals[1]


def saturate(
    made: Sequence[Instance], load: LoadProcess, documents: int, characters: int, seconds: float, first: int
) -> tuple[float, float]:
    """Return the tokens per second under a closed loop, and the tokens of a request.

    Raises:
        RuntimeError: a request was not answered with 200.
    """
    closed = ClosedLoop(
        bodies(documents, characters), CLIENTS * len(made), seconds=WARM_SECONDS + seconds, first=first
    )  # fmt: skip
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(load.run, closed)
        time.sleep(WARM_SECONDS)
        (tokens, pairs), began = computed(made), time.perf_counter()
        time.sleep(seconds)
        (more_tokens, more_pairs), ended = computed(made), time.perf_counter()
        (shots,) = running.result().shots
    bad = [shot.status for shot in shots if shot.status != 200]
    if bad or not shots:
        raise RuntimeError(f"{len(bad)} of {len(shots)} requests were not answered with 200: {bad[:3]}.")
    tokens, pairs = more_tokens - tokens, more_pairs - pairs
    return tokens / (ended - began), tokens / pairs * documents


def compare(
    made: Sequence[Instance], load: LoadProcess, documents: int, characters: int, seconds: float
) -> SizingResult:
    """Return one row: prediction and measurement in alternating rounds, of which that with the median ratio counts."""
    turns: list[SizingResult] = []
    for turn in range(TURNS):
        speed = bench(characters)
        rate, tokens = saturate(made, load, documents, characters, seconds, turn * 1_000_000)
        predicted = len(made) * speed / tokens
        turns.append(
            SizingResult(
                len(made), documents, characters, round(tokens), round(speed), round(predicted, 2),
                round(rate / tokens, 2), round(rate / tokens / predicted, 3), [],
            )
        )  # fmt: skip
    ratios = sorted(turn.ratio for turn in turns)
    middle = next(turn for turn in turns if turn.ratio == ratios[len(ratios) // 2])
    return replace(middle, ratios=ratios)


def measure(seconds: float) -> dict[str, Any]:
    """Run the whole benchmark and return its report."""
    points: list[SizingResult] = []
    waits: list[dict[str, Any]] = []
    for count in range(1, min(2, usable_cores()) + 1):
        with (
            instances(count, pinned=True, RERANKD_MAX_QUEUE_SECONDS=str(QUEUE_SECONDS)) as made,
            proxy([one.address for one in made], max_queue_seconds=QUEUE_SECONDS) as front,
            LoadProcess(f"{front.url}/v1/rerank") as load,
        ):
            for documents, characters in POINTS:
                points.append(compare(made, load, documents, characters, seconds))
                print(points[-1], file=sys.stderr)
            if count == 1:
                waits = [wait(load, points[0], share, 4 * seconds) for share in SHARES]
    return {
        "machine": {"processor": processor(), "cores": usable_cores()},
        "model": "mini",
        "clients_per_instance": CLIENTS,
        "seconds": seconds,
        "turns": TURNS,
        "points": [asdict(point) for point in points],
        "waits": waits,
    }


def wait(load: LoadProcess, point: SizingResult, share: float, seconds: float) -> dict[str, Any]:
    """Return the latency of Poisson arrivals at a share of the measured saturation throughput."""
    drawn = bodies(point.documents, point.characters)
    (shots,) = load.run(
        OpenLoop(drawn, share * point.measured, seconds, first=10_000_000 + int(share * 1000) * 10_000)
    ).shots
    latency = [shot.latency * 1000 for shot in shots if shot.status == 200]
    row = {
        "documents": point.documents,
        "characters": point.characters,
        "share_of_capacity": share,
        "seconds": seconds,
        "requests": len(shots),
        "refused": sum(shot.status != 200 for shot in shots),
        "p95_ms": round(percentile(latency, 0.95), 1),
        "ms": spread(latency, "p50", "p99", "max", digits=3),
    }
    print(row, file=sys.stderr)
    return row


def main() -> None:
    """Run the benchmark and write the report."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything is ended on the way out
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds of one round")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    text = json.dumps(measure(arguments.seconds), indent=2, ensure_ascii=False)
    arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
