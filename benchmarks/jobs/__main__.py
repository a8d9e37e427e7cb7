"""`python -m benchmarks.jobs`: jobs and bulk work through a real Redis to real workers, against the library.

Writes `benchmarks/results/jobs.json`. What is compared takes turns, and ratios are taken turn by turn; processor time
stands beside time on the clock, since what others on the machine take counts in the latter. Redis keeps everything on
disk before it answers (`appendonly yes`, `appendfsync always`).

- batching: many small jobs of different owners at once, against one job with all their pairs; and what one tiny job
  costs beside its computing.
- throughput: a bulk run from file to file by one worker, against one `Reranker.score` over the same pairs in memory.
- cores: two workers on a core each against one.
- faults: workers that are killed and a Redis that is, against a run that nothing happens to; memory of the workers.
- interactive: small jobs while bulk work saturates the worker, against an idle one.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.jobs.batching import batching
from benchmarks.jobs.cores import on_two_cores
from benchmarks.jobs.faults import faults
from benchmarks.jobs.interactive import interactive
from benchmarks.jobs.throughput import throughput
from benchmarks.machine import machine
from rerankd._common.processor import usable_cores

MEASURES: dict[str, Callable[[Path, argparse.Namespace], dict[str, Any]]] = {
    "batching": batching,
    "throughput": throughput,
    "cores": on_two_cores,
    "faults": faults,
    "interactive": interactive,
}


def bars(report: dict[str, Any]) -> dict[str, bool]:
    """Return the targets, with True for those that were met.

    Example:
        >>> bars({"cores": {"held": True}, "faults": {"held": True, "memory_held": False}})
        {'cores': True, 'faults': True, 'memory': False}
    """
    outcomes = {name: bool(report[name]["held"]) for name in MEASURES if "held" in report.get(name, {})}
    if "memory_held" in report.get("faults", {}):
        outcomes["memory"] = bool(report["faults"]["memory_held"])
    return outcomes


def read_flags() -> argparse.Namespace:
    """Return the arguments of the command line."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.jobs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mini", help="bundled model or folder")
    parser.add_argument(
        "--threads", type=int, default=usable_cores(), help="threads of a worker in the measures that do not fix one"
    )
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each comparison")
    parser.add_argument("--pairs", type=int, default=2048, help="pairs of a bulk run with the bundled model")
    parser.add_argument(
        "--nano-pairs", type=int, default=20_480, help="pairs of a bulk run with the small random model"
    )
    parser.add_argument("--tiny-jobs", type=int, default=100)
    parser.add_argument("--interactive-jobs", type=int, default=40, help="interactive jobs per round")
    parser.add_argument("--interactive-rounds", type=int, default=3)
    parser.add_argument("--fault-pairs", type=int, default=200_000)
    parser.add_argument("--lease-seconds", type=float, default=30.0, help="lease of the workers in the fault run")
    parser.add_argument("--models", type=Path, default=Path("build/bench"), help="folder of the random models")
    parser.add_argument(
        "--only", nargs="+", choices=MEASURES, help="run only these measures and keep the results of the others"
    )
    parser.add_argument("--out", type=Path, default=RESULTS / "jobs.json")
    return parser.parse_args()


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one of the measures in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="rerankd-jobs-") as folder:
        return {"machine": machine(arguments.threads), **MEASURES[name](Path(folder), arguments)}


def main() -> None:
    """Run, write the report, and exit with 1 if a target was missed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # everything is ended on the way out
    arguments = read_flags()
    kept = arguments.only and arguments.out.exists()
    report: dict[str, Any] = json.loads(arguments.out.read_text(encoding="utf-8")) if kept else {}
    for name in arguments.only or MEASURES:
        report[name] = measure(name, arguments)
        print(json.dumps({name: report[name]}, indent=1))
        report["bars"] = bars(report)
        text = json.dumps(report, indent=2, ensure_ascii=False)
        arguments.out.write_text(text + "\n", encoding="utf-8")
    missed = [name for name, is_met in report["bars"].items() if not is_met]
    for name in missed:
        print(f"Missed: {name}.", file=sys.stderr)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
