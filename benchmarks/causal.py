"""A real causal model as a reranker, beside transformers: `python -m benchmarks.causal --model FOLDER`.

FOLDER holds a Qwen2 or Qwen3 model of up to about 1 B parameters, such as Qwen/Qwen2.5-0.5B-Instruct. It is asked
whether a document answers a query; every contender reads the same prompts, in a process of its own. transformers pads
on the left, in batches of similar length. The compiled contender is made first; the report says how it agrees with
float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, workload
from benchmarks.contenders import Answer, Contender, Worker
from benchmarks.machine import machine
from rerankd._common.processor import HALF_PRECISION_FLAGS, cpu_flags, usable_cores


def compiled(folder: Path, out: Path) -> tuple[Path, dict[str, Any]]:
    """Return the model compiled to int8 in ONNX, made on the first call, and how its scores agree with float32.

    Args:
        folder: folder of the checkpoint.
        out: folder to make it in.
    """
    from rerankd.compiler.compile import CompileOptions, compile_model
    from rerankd.models.files import load_model

    target = out / f"{folder.name}-int8"
    if not target.exists():
        options = CompileOptions("int8", waive=True)
        done = compile_model(load_model(str(folder)), target, options, lambda step: print(f"  {step}", file=sys.stderr))
        return target, dict(done.parity or {})
    return target, dict(load_model(str(target)).manifest.parity or {})


def contenders(folder: Path, onnx: Path) -> list[Contender]:
    """Return transformers and rerankd in the precisions that this chip computes."""
    precisions = ["fp32", "bf16"] if HALF_PRECISION_FLAGS["bf16"] & cpu_flags() else ["fp32"]
    made = [Contender(f"transformers {p}", "transformers", folder, precision=p) for p in precisions]
    made += [Contender(f"rerankd torch {p}", "rerankd", folder, precision=p, backend="torch") for p in precisions]
    return [*made, Contender("rerankd onnx int8", "rerankd", onnx, backend="onnx")]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return seconds to start, medians of the requests' seconds, and peak memory of each contender."""
    onnx, agreement = compiled(arguments.model, arguments.models)
    report: dict[str, Any] = {"machine": machine(arguments.threads), "model": arguments.model.name}
    report |= {"documents": arguments.documents, "requests": arguments.requests, "int8": agreement}
    made, _ = workload.requests(arguments.requests + 1, arguments.documents)
    workers = [Worker(one, arguments.threads) for one in contenders(arguments.model, onnx)]
    answers: dict[str, list[Answer]] = {worker.contender.name: [] for worker in workers}
    for turn, (query, documents) in enumerate(made):
        for worker in workers:
            answer = worker.ask(query, documents)
            if turn:  # the first request warms up
                answers[worker.contender.name].append(answer)
        print(f"  request {turn} of {arguments.requests}", file=sys.stderr)
    for worker in workers:
        worker.close()
    medians = {name: statistics.median(answer.seconds for answer in own) for name, own in answers.items()}
    best = min(seconds for name, seconds in medians.items() if name.startswith("transformers"))
    tokens = max(answer.tokens for own in answers.values() for answer in own) / arguments.documents
    report["tokens_per_pair"] = round(tokens, 1)
    report["rows"] = [
        {
            "contender": worker.contender.name,
            "start_seconds": round(worker.start_seconds, 1),
            "pairs_per_second": round(arguments.documents / medians[worker.contender.name], 2),
            "to_best_peer": round(best / medians[worker.contender.name], 2),
            "peak_megabytes": round(max(a.peak_bytes for a in answers[worker.contender.name]) / 1e6),
        }
        for worker in workers
    ]
    return report


def main() -> None:
    """Measure, and write `benchmarks/results/causal.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the causal model")
    parser.add_argument("--requests", type=int, default=5)
    parser.add_argument("--documents", type=int, default=16)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--models", type=Path, default=Path("build/bench"), help="folder of the compiled model")
    arguments = parser.parse_args()
    report = measure(arguments)
    for row in report["rows"]:
        print(json.dumps(row))
    path = RESULTS / "causal.json"
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Written to {path}.", file=sys.stderr)


if __name__ == "__main__":
    main()
