"""`make bench`: run the benchmarks and write `benchmarks/results/NAME.json`, the source of the README's table."""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import RESULTS, bundled, model, peak, peers, server, workload
from benchmarks.contenders import Contender, Worker
from benchmarks.machine import machine
from rerankd._common.processor import HALF_PRECISION_FLAGS, cpu_flags, usable_cores
from rerankd.scoring.native import library

BASELINE = "sentence-transformers"


def contenders(shape: str, folder: Path, device: str) -> list[Contender]:
    """Return the contenders of a model shape: rerankd's backends and the libraries to compare with."""
    checkpoint = model.make_checkpoint(shape, folder)
    if device != "cpu":
        return [
            Contender(f"{BASELINE} fp16, padded", BASELINE, checkpoint, device, "fp16"),
            Contender("rerankd torch fp16, packed", "rerankd", checkpoint, device, "fp16"),
        ]
    compiled = {precision: model.make_compiled(shape, precision, folder) for precision in ("fp32", "int8")}
    half = bool(HALF_PRECISION_FLAGS["bf16"] & cpu_flags())
    found = [Contender(f"{BASELINE} fp32", BASELINE, checkpoint)]
    if half:
        found.append(Contender(f"{BASELINE} bf16", BASELINE, checkpoint, precision="bf16"))
    found.append(Contender("ONNX Runtime fp32, padded", "onnxruntime", compiled["fp32"]))
    if peers.install_openvino():
        for precision in ("bf16" if half else "fp32", "int8"):
            found.append(Contender(f"OpenVINO {precision}", "openvino", checkpoint, precision=precision))
    found += [
        Contender(f"rerankd onnx {precision}", "rerankd", compiled[precision], backend="onnx") for precision in compiled
    ]
    if library.unavailable() is None:
        for precision in ("bf16", "int8"):
            found.append(Contender(f"rerankd native {precision}", "rerankd", checkpoint, precision=precision))
    return found


def measure(shape: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Return the rows of one shape: medians over requests that all contenders answer in turn."""
    made, texts = workload.requests(arguments.requests + 1, arguments.documents)
    workers = [Worker(c, arguments.threads) for c in contenders(shape, arguments.models, arguments.device)]
    answers: dict[str, list[Any]] = {worker.contender.name: [] for worker in workers}
    for turn, (query, documents) in enumerate(made):
        for worker in workers:
            answer = worker.ask(query, documents)
            if turn:  # the first request warms up
                answers[worker.contender.name].append(answer)
        print(f"  {shape}: request {turn} of {arguments.requests}", file=sys.stderr)
    for worker in workers:
        worker.close()
    ours = next(name for name in answers if name.startswith("rerankd"))
    tokens = [answer.tokens for answer in answers[ours]]
    medians = {name: statistics.median(a.seconds for a in own) for name, own in answers.items()}
    base = medians[next(iter(answers))]
    best = min(seconds for name, seconds in medians.items() if not name.startswith("rerankd"))
    lengths = _lengths(shape, arguments, made[1:])
    flops = model.executed_flops(shape, lengths)
    # The fastest peer first, then the others, then rerankd.
    for name, own in sorted(answers.items(), key=lambda item: (item[0].startswith("rerankd"), medians[item[0]])):
        seconds = [a.seconds for a in own]
        yield {
            "shape": shape,
            "contender": name,
            "texts": texts,
            "tokens_per_pair": round(sum(tokens) / (len(tokens) * arguments.documents), 1),
            "pairs_per_second": round(arguments.documents * len(own) / sum(seconds), 2),
            "tokens_per_second": round(sum(tokens) / sum(seconds)),
            "ratio": round(base / medians[name], 2),
            "to_best_peer": round(best / medians[name], 2),
            "gops": round(flops / sum(seconds) / 1e9, 1) if name.startswith("rerankd") else None,
            "peak_megabytes": round(max(a.peak_bytes for a in own) / 1e6),
            "gpu_megabytes": round(max(a.gpu_bytes for a in own) / 1e6) or None,
        }


def _lengths(shape: str, arguments: argparse.Namespace, made: list[workload.Request]) -> list[int]:
    from rerankd.models.files import load_model
    from rerankd.scoring.encoder import PairEncoder, TruncationOptions

    files = load_model(str(model.make_checkpoint(shape, arguments.models)))
    encoder = PairEncoder(files.tokenizer(), files.manifest.template)
    truncation = TruncationOptions(512, "longest_first")
    return [
        len(pair)
        for query, documents in made
        for windows in encoder.encode(query, documents, truncation)
        for pair in windows
    ]


def single_pair(shape: str, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Return the latency of one pair of 64 tokens on a model shape."""
    checkpoint = model.make_checkpoint(shape, arguments.models)
    for precision in ("fp32", "int8"):
        folder = model.make_compiled(shape, precision, arguments.models)
        yield {"shape": shape, "backend": "onnx", "precision": precision} | _latency(
            folder, arguments.threads, "onnx", precision
        )
    if library.unavailable() is None:
        for precision in ("bf16", "int8"):
            row = {"shape": shape, "backend": "native", "precision": precision}
            yield row | _latency(checkpoint, arguments.threads, "native", precision)


def _latency(folder: Path, threads: int, backend: str, precision: str) -> dict[str, Any]:
    from time import perf_counter

    from rerankd import Reranker

    options: dict[str, Any] = {"backend": backend, "precision": precision, "threads": threads}
    reranker = Reranker(str(folder), max_length=64, compile=False, **options)
    documents = [f"panda {turn} bamboo 熊猫 " * 40 for turn in range(12)]
    milliseconds = []
    for document in documents:
        started = perf_counter()
        tokens = reranker.rank("what does a panda eat?", [document]).usage.tokens
        milliseconds.append((perf_counter() - started) * 1000)
    return {
        "tokens": tokens,
        "p50_ms": round(statistics.median(milliseconds[2:]), 1),
        "max_ms": round(max(milliseconds[2:]), 1),
        "file_megabytes": round(reranker.files.size / 1e6),
    }


def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the resident memory over many requests of varying length, on the 6-layer shape in int8 and fp32."""
    rows: dict[str, Any] = {"requests": arguments.memory_requests}
    made, _ = workload.requests(arguments.memory_requests, 5, seed=11)
    for precision in ("fp32", "int8"):
        worker = Worker(
            Contender(precision, "rerankd", model.make_compiled("mini", precision, arguments.models)), arguments.threads
        )
        peaks = [worker.ask(query, documents).peak_bytes for query, documents in made]
        worker.close()
        rows[precision] = {
            f"peak_megabytes_after_{n}": round(peaks[n - 1] / 1e6, 1) for n in (100, 500, 1000) if n <= len(peaks)
        }
    return rows


def main() -> None:
    """Run the benchmark."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers are ended on the way out
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=model.SHAPES, default=["mini", "base"])
    parser.add_argument("--requests", type=int, default=3)
    parser.add_argument("--documents", type=int, default=50)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--memory-requests", type=int, default=1000, help="requests of the memory measure; 0 to skip it"
    )
    parser.add_argument("--no-m3", action="store_true", help="skip the single pair on v2-m3's shape (needs 8 GB)")
    parser.add_argument("--models", type=Path, default=Path("build/bench"), help="folder of the random models")
    parser.add_argument("--name", default=None, help="name of the result file (default: the device)")
    parser.add_argument(
        "--only-throughput", action="store_true", help="measure only the libraries in process, and one pair"
    )
    parser.add_argument(
        "--only-bundled", action="store_true", help="measure only the bundled models against the int8 peak"
    )
    server.add_flags(parser)
    arguments = parser.parse_args()
    path = RESULTS / f"{arguments.name or arguments.device.partition(':')[0]}.json"
    if arguments.only_bundled or arguments.only_server or arguments.only_throughput:
        known = path.exists()
        kept = json.loads(path.read_text(encoding="utf-8")) if known else {"machine": machine(arguments.threads)}
    if arguments.only_bundled:
        _write(path, kept | {"bundled": _bundled(arguments.threads)})
        return
    if arguments.only_server:
        _write(path, kept | {"server": _server(arguments)})
        return
    report: dict[str, Any] = {"machine": machine(arguments.threads)}
    if arguments.only_throughput:
        arguments.memory_requests, arguments.no_server = 0, True
    if arguments.device == "cpu":
        report["peak_gops"] = {precision: round(rate) for precision, rate in peak.peaks(arguments.threads).items()}
    rows = [row for shape in arguments.shapes for row in measure(shape, arguments)]
    if arguments.device == "cpu":
        after = peak.peaks(arguments.threads)  # the machine may have been slower before
        report["peak_gops"] = {kind: max(rate, round(after[kind])) for kind, rate in report["peak_gops"].items()}
        for row in rows:
            top = report["peak_gops"][row["contender"].split()[2]] if row["gops"] else 1
            row["share_of_peak"] = round(row["gops"] / top, 2) if row["gops"] else None
    report["documents"], report["requests"], report["rows"] = arguments.documents, arguments.requests, rows
    if arguments.device == "cpu" and arguments.memory_requests:
        report["memory"] = memory(arguments)
    if arguments.device == "cpu":
        shapes = [*arguments.shapes] if arguments.no_m3 else [*arguments.shapes, "m3"]
        report["single_pair"] = [row for shape in dict.fromkeys(shapes) for row in single_pair(shape, arguments)]
    if arguments.device == "cpu" and not arguments.only_throughput:
        report["bundled"] = _bundled(arguments.threads)
    if arguments.device == "cpu" and not arguments.no_server:
        report["server"] = _server(arguments)
    for row in rows:
        print(json.dumps(row))
    print(json.dumps({key: value for key, value in report.items() if key != "rows"}, indent=1))
    if arguments.only_throughput:  # what another machine measured in process is dropped
        report = {key: value for key, value in kept.items() if key not in ("memory", "single_pair")} | report
    _write(path, report)


def _bundled(threads: int) -> dict[str, Any]:
    measured = bundled.measure(threads)
    print(json.dumps(measured, indent=1))
    return measured


def _server(arguments: argparse.Namespace) -> dict[str, Any]:
    report = {"machine": machine(arguments.threads)} | server.measure(arguments)
    print(json.dumps(report, indent=1))
    return report


def _write(path: Path, report: dict[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"Written to {path}; run `make docs` to bring it into the README.", file=sys.stderr)


if __name__ == "__main__":
    main()
