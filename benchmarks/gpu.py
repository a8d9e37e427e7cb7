"""`make gpu`: the tests of a CUDA GPU and the packed benchmark on it, in six minutes at most.

v2-m3's shape is scored in fp16, bf16 and fp32, and by sentence-transformers in fp16. The result file is written after
every step, so that a run that is cut short leaves what it measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, model, workload
from benchmarks.contenders import Contender, Worker
from benchmarks.machine import machine
from benchmarks.timings import median_ratio
from rerankd.scoring.backend import cuda_available

SECONDS = 360.0
TEST_SECONDS = 120.0
TURNS = 5
PEER = "sentence-transformers fp16"


def main() -> int:
    """Run the tests, then the benchmark; return 0 if both passed, 1 if not, 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=model.SHAPES, default="m3")
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--models", type=Path, default=Path("build/bench"), help="folder of the random models")
    arguments = parser.parse_args()
    if not cuda_available():
        print("torch sees no CUDA GPU: nothing was run. Check the driver with `rerankd doctor`.", file=sys.stderr)
        return 2
    import torch

    deadline = time.monotonic() + SECONDS
    path = RESULTS / "gpu.json"
    report: dict[str, Any] = {"machine": machine(0) | {"gpu": torch.cuda.get_device_name()}}
    report["tests"] = _tests()
    _write(path, report)
    report["peak_tflops"] = _peaks()
    _write(path, report)
    for row in _throughput(arguments, report["peak_tflops"], deadline):
        report.setdefault("rows", []).append(row)
        _write(path, report)
        print(json.dumps(row))
    return 0 if report["tests"]["passed"] and report.get("rows") else 1


def _tests() -> dict[str, Any]:
    command = [sys.executable, "-m", "pytest", "tests/integration/test_cuda.py", "-q", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TEST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"passed": False, "output": f"not finished after {TEST_SECONDS:.0f} s"}
    return {"passed": done.returncode == 0, "output": done.stdout[-4000:]}


def _peaks() -> dict[str, float]:
    """Return the best rate of matrix products, in 10^12 operations/s, by precision."""
    import torch

    rates = {}
    for name, kind in (("fp16", torch.float16), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
        left, right = (torch.randn(8192, 8192, device="cuda", dtype=kind) for _ in range(2))
        best = 0.0
        for _ in range(10):
            torch.cuda.synchronize()
            started = time.perf_counter()
            left @ right
            torch.cuda.synchronize()
            best = max(best, 2 * 8192**3 / (time.perf_counter() - started) / 1e12)
        rates[name] = round(best, 1)
    return rates


def _throughput(arguments: argparse.Namespace, peaks: dict[str, float], deadline: float) -> list[dict[str, Any]]:
    """Return one row per contender, which answer the same requests in turn until the time is up."""
    checkpoint = model.make_checkpoint(arguments.shape, arguments.models)
    contenders = [Contender(PEER, "sentence-transformers", checkpoint, "cuda", "fp16")]
    for precision in ("fp16", "bf16", "fp32"):
        contenders.append(Contender(f"rerankd torch {precision}", "rerankd", checkpoint, "cuda", precision))
    workers = [Worker(contender, 0) for contender in contenders]
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    memory, tokens = dict.fromkeys(seconds, 0), 0
    made, texts = workload.requests(TURNS + 1, arguments.documents)
    for turn, (query, documents) in enumerate(made):
        for worker in workers:
            answer = worker.ask(query, documents)
            name = worker.contender.name
            memory[name], tokens = max(memory[name], answer.gpu_bytes), tokens + (answer.tokens if turn else 0)
            if turn:  # the first request warms up
                seconds[name].append(answer.seconds)
        if time.monotonic() > deadline - 30 and turn:
            break
    for worker in workers:
        worker.close()
    turns = len(seconds[PEER])
    mean = tokens / max(1, 3 * turns * arguments.documents)  # three of the contenders count tokens
    flops = model.executed_flops(arguments.shape, [round(mean)] * arguments.documents)
    return [
        {
            "shape": arguments.shape,
            "contender": name,
            "texts": texts,
            "turns": turns,
            "tokens_per_pair": round(mean, 1),
            "pairs_per_second": round(arguments.documents * turns / sum(own), 1),
            "ratio": round(median_ratio(seconds[PEER], own), 2),
            "share_of_peak": round(flops * turns / sum(own) / 1e12 / peaks[name.split()[-1]], 3),
            "gpu_megabytes": round(memory[name] / 1e6),
        }
        for name, own in seconds.items()
    ]


def _write(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
