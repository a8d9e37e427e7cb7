"""Where the native backend's time goes: shares of its parts, of the tokenizer and of Python, for each shape.

    python -m benchmarks.profile --shapes mini base m3

The kernels are compiled once more with counters into `build/profile`; one thread computes, so that parts add up.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, machine, model, workload
from rerankd.models.files import load_model
from rerankd.scoring.batches import plan_batches
from rerankd.scoring.encoder import PairEncoder, TruncationOptions
from rerankd.scoring.native import library
from rerankd.scoring.native.backend import NativeBackend
from rerankd.scoring.scorer import Scorer

ROOT = Path(__file__).parents[1]
PARTS = (
    *("embedding", "products", "product with GELU", "attention", "softmax", "quantization", "normalization", "head"),
)
BUNDLED = "bundled"
DOCUMENTS, MAX_LENGTH = 50, 512


def build(chosen: library.Instructions) -> None:
    """Compile the kernels with counters and make them the ones that this process loads.

    Args:
        chosen: instructions to compile for.
    """
    from scripts.build_kernels import command, compiler_command

    library.FOLDER = ROOT / "build" / "profile"
    library.FOLDER.mkdir(parents=True, exist_ok=True)
    subprocess.run(command(compiler_command(), ROOT, chosen.name, chosen.library, "-DPROFILE"), check=True)


def profile(shape: str, precision: str, models: Path, turns: int) -> dict[str, Any]:
    """Return the shares of the parts of scoring requests of 50 documents.

    Args:
        shape: one of `model.SHAPES`, or `bundled`.
        precision: `bf16` or `int8`.
        models: folder of the random models.
        turns: requests that are measured.
    """
    files = load_model("mini" if shape == BUNDLED else str(model.make_checkpoint(shape, models)))
    backend = NativeBackend(files, precision=precision, threads=1)
    scorer = Scorer(PairEncoder(files.tokenizer(), files.manifest.template), backend)
    truncation = TruncationOptions(min(MAX_LENGTH, files.manifest.max_length))
    limits = scorer.batch_limits(16384)
    ticks = (ctypes.c_uint64 * len(PARTS)).in_dll(library.library(), "rerankd_ticks")
    seconds = {"tokenizer": 0.0, "kernels": 0.0, "python": 0.0}
    tokens = 0
    for turn, (query, documents) in enumerate(workload.requests(turns + 1, DOCUMENTS)[0]):
        if turn == 1:
            ctypes.memset(ticks, 0, ctypes.sizeof(ticks))
            seconds, tokens = dict.fromkeys(seconds, 0.0), 0
        began = time.perf_counter()
        pairs = [pair for chunks in scorer.encoder.encode(query, documents, truncation) for pair in chunks]
        encoded = time.perf_counter()
        before = sum(ticks)
        for batch in plan_batches([len(pair) for pair in pairs], limits):
            backend.logits([pairs[i] for i in batch])
        ended = time.perf_counter()
        tokens += sum(map(len, pairs))
        seconds["tokenizer"] += encoded - began
        seconds["python"] += ended - encoded  # the kernels' part is taken off below
        seconds["kernels"] += sum(ticks) - before
    rate = _ticks_per_second()
    seconds["kernels"] /= rate
    seconds["python"] -= seconds["kernels"]
    total = sum(seconds.values())
    shares = {name: ticks[i] / rate / total for i, name in enumerate(PARTS)}
    shares |= {"tokenizer": seconds["tokenizer"] / total, "Python": seconds["python"] / total}
    row: dict[str, Any] = {"shape": shape, "precision": precision, "requests": turns}
    row["tokens_per_pair"] = round(tokens / turns / DOCUMENTS)
    row["seconds_per_request"] = round(total / turns, 4)
    return row | {"shares": {name: round(share, 4) for name, share in shares.items()}}


def _ticks_per_second() -> float:
    """Return the rate of the time-stamp counter, which runs at a constant rate on these processors."""
    clock = library.library()
    clock.rerankd_ticks_now.restype = ctypes.c_uint64
    began, first = time.perf_counter(), clock.rerankd_ticks_now()
    while time.perf_counter() - began < 0.2:
        pass
    return float(clock.rerankd_ticks_now() - first) / (time.perf_counter() - began)


def main() -> None:
    """Print the table, and write it to `benchmarks/results/NAME.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    shapes = [BUNDLED, *model.SHAPES]
    parser.add_argument("--shapes", nargs="+", choices=shapes, default=[BUNDLED, "mini", "base", "m3"])
    parser.add_argument("--precisions", nargs="+", choices=("bf16", "int8"), default=["bf16", "int8"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--models", type=Path, default=Path("build/bench"))
    parser.add_argument("--name", default="profile", help="name of the result file")
    arguments = parser.parse_args()
    if (problem := library.unavailable()) is not None or (chosen := library.instructions()) is None:
        sys.exit(problem)
    library._loaded.cache_clear()
    build(chosen)
    report: dict[str, Any] = {"machine": machine.machine(1), "documents": DOCUMENTS, "rows": []}
    print(f"{'':18}{'s/request':>10}" + "".join(f"{name:>19}" for name in (*PARTS, "tokenizer", "Python")))
    for shape in arguments.shapes:
        for precision in arguments.precisions:
            if shape == BUNDLED and precision != "int8":
                continue
            row = profile(shape, precision, arguments.models, arguments.turns)
            report["rows"].append(row)
            name = f"{shape} {precision}"
            cells = "".join(f"{share:19.1%}" for share in row["shares"].values())
            print(f"{name:18}{row['seconds_per_request']:10.3f}{cells}", flush=True)
    path = RESULTS / f"{arguments.name}.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
