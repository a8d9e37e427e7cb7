"""Bulk runs against the library, on one core and on two, and their peak memory: `python -m benchmarks.bulk`.

Writes `benchmarks/results/bulk.json`. The contestants alternate, and ratios are taken round by round, so that
other load on the machine changes them little.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import RESULTS
from benchmarks.machine import machine
from benchmarks.model import train_xlmr_tokenizer
from benchmarks.timings import AlternatingTimings, rate
from rerankd._common.processor import usable_cores
from rerankd.demo import load_traps

# Prints what a run took of a core, without the loading of the model, and the peak memory of the process; the system's
# own figure would count what the parent had before.
PROGRAM = """
import sys, time
from pathlib import Path
from rerankd.cli import bulk
from rerankd.cli.main import app
real = bulk.run_bulk
def timed(*arguments):
    before = time.process_time()
    try:
        return real(*arguments)
    finally:
        worked.append(time.process_time() - before)
worked = []
bulk.run_bulk = timed
try:
    app()
except SystemExit as end:
    if end.code:
        raise
print(worked[0])
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line[:5] == "VmHWM"))
"""


def pairs(count: int, seed: int = 5) -> Iterator[dict[str, str]]:
    """Yield distinct pairs of the bundled texts, about 45 tokens each."""
    draw = random.Random(seed)
    traps = load_traps()
    texts = [text for trap in traps for text in trap.documents]
    for number in range(count):
        document = f"{draw.choice(texts)} {draw.choice(texts)} {number}"
        yield {"id": str(number), "query": draw.choice(traps).query, "document": document}


def write(path: Path, rows: Iterator[dict[str, str]]) -> Path:
    """Write rows as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


def against_library(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare a bulk run between files with one `Reranker.score` over the same pairs in memory, in pairs per second."""
    from rerankd import Reranker
    from rerankd.jobs.bulk.local import LocalExecutor
    from rerankd.jobs.bulk.run import BulkRun, run_bulk
    from rerankd.settings import load_settings
    from rerankd.wiring.bulk import open_scorer

    reranker = Reranker(arguments.model, threads=arguments.threads)
    settings = load_settings(model=arguments.model, threads=arguments.threads)
    turns, tokens = AlternatingTimings(), 0
    for turn in range(arguments.rounds + 1):
        rows = list(pairs(arguments.pairs if turn else 128, seed=turn))
        source = write(folder / "in.jsonl", iter(rows))
        inputs = [(row["query"], row["document"]) for row in rows]
        executor = LocalExecutor(open_scorer(settings))
        for name in ("library", "bulk") if turn % 2 else ("bulk", "library"):
            started, worked = time.perf_counter(), time.process_time()
            if name == "library":
                reranker.score(inputs)
            else:
                tokens = run_bulk(BulkRun(source, folder / "out.jsonl", restart=True), executor).tokens
            if turn:  # the first turn warms up
                turns.note(name, time.perf_counter() - started, time.process_time() - worked)
        print(f"  against the library: turn {turn} of {arguments.rounds}", file=sys.stderr)
    return {
        "model": f"{reranker.model} ({reranker.backend})",
        "threads": arguments.threads,
        "pairs": arguments.pairs,
        "tokens_per_pair": round(tokens / arguments.pairs, 1),
        **{f"{name}_pairs_per_second": rate(arguments.pairs, values) for name, values in turns.seconds.items()},
        **turns.ratios("library", "bulk"),
    }


def on_two_cores(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Compare one process on one core with two processes on one core each, which score half of the pairs each."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        return {"skipped": "this process may use one core only"}
    half = arguments.pairs // 2
    turns = AlternatingTimings()
    for turn in range(arguments.rounds):
        rows = list(pairs(2 * half, seed=100 + turn))
        whole = write(folder / "whole.jsonl", iter(rows))
        parts = [write(folder / f"part{n}.jsonl", iter(rows[n * half : (n + 1) * half])) for n in (0, 1)]
        for name in ("one", "two") if turn % 2 else ("two", "one"):
            plan = [(whole, cores[turn % 2])] if name == "one" else list(zip(parts, cores, strict=True))
            running = [start(source, core, arguments.model) for source, core in plan]
            # Both load their model first; what counts is the run itself, which each times alone.
            ends = [finished(process) for process in running]
            turns.note(name, max(end["seconds"] for end in ends), sum(end["processor_seconds"] for end in ends))
        print(f"  two cores: turn {turn + 1} of {arguments.rounds}", file=sys.stderr)
    return {
        "threads_per_process": 1,
        "pairs": 2 * half,
        "one_pairs_per_second": rate(2 * half, turns.seconds["one"]),
        "two_pairs_per_second": rate(2 * half, turns.seconds["two"]),
        **turns.ratios("one", "two", 2.0),
    }


def start(source: Path, core: int | None, model: str) -> subprocess.Popen[str]:
    """Start a bulk run, pinned to `core` unless it is None."""
    command = [sys.executable, "-c", PROGRAM, "bulk", str(source), "--out", f"{source}.out", "--out-format", "jsonl"]
    command += ["--json", "--restart", "--model", model]
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    threads = [] if core is None else ["--threads", "1"]
    return subprocess.Popen([*pinned, *command, *threads], stdout=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a bulk run and return its summary with its peak memory."""
    output, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"A run ended with {process.returncode}.")
    summary, worked, peak = output.splitlines()
    report: dict[str, Any] = json.loads(summary)
    return report | {"processor_seconds": float(worked), "peak_megabytes": round(int(peak) / 1024, 1)}


def memory(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the peak memory of bulk runs over growing numbers of pairs, with the smallest possible model."""
    model = make_nano(arguments.models)
    rows = []
    for count in arguments.memory_pairs:
        source = write(folder / "memory.jsonl", pairs(count))
        report = finished(start(source, None, str(model)))
        rows.append({name: report[name] for name in ("pairs", "seconds", "pairs_per_second", "peak_megabytes")})
        print(f"  memory: {json.dumps(rows[-1])}", file=sys.stderr)
        source.unlink()
        Path(f"{source}.out").unlink()
    return {"model": "random weights, 1 layer of 32, int8", "rows": rows}


def make_nano(folder: Path, name: str = "nano", *, layers: int = 1, hidden: int = 32) -> Path:
    """Write a random XLM-RoBERTa, by default with one layer, and compile it to int8."""
    out = folder / f"{name}-int8"
    if out.exists():
        return out
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    from rerankd.compiler.compile import CompileOptions, compile_model
    from rerankd.models.files import load_model

    source = folder / name
    source.mkdir(parents=True, exist_ok=True)
    texts = [text for trap in load_traps() for text in (trap.query, *trap.documents)]
    vocabulary = train_xlmr_tokenizer(texts, source)
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 2 * hidden,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "num_labels": 1,
    }
    XLMRobertaForSequenceClassification(XLMRobertaConfig(**shape)).save_pretrained(source)
    compile_model(load_model(str(source)), out, CompileOptions("int8", waive=True))
    return out


def main() -> None:
    """Run the benchmark and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--pairs", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--memory-pairs", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--models", type=Path, default=Path("build/bench"), help="folder of the random models")
    parser.add_argument(
        "--only", choices=["library", "cores", "memory"], help="run one measure and keep the results of the others"
    )
    arguments = parser.parse_args()
    folder = arguments.models / "bulk"
    folder.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "bulk.json"
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if arguments.only and path.exists() else {}
    parts = {"library": against_library, "cores": on_two_cores, "memory": memory}
    for name, measure in parts.items():
        if arguments.only in (None, name):
            report[name] = {"machine": machine(arguments.threads), **measure(folder, arguments)}
            print(json.dumps({name: report[name]}, indent=1))
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
