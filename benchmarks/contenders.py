"""Contenders of a benchmark, each in a process of its own for separate memory, called in turn to share the noise."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import peers
from benchmarks.peers import MAX_LENGTH

PEER_BATCH = 32


@dataclass(frozen=True, slots=True)
class Contender:
    """A library, how it is called, and its model folder."""

    name: str
    library: str
    model: Path
    device: str = "cpu"
    precision: str | None = None
    backend: str = "auto"


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of one request: seconds, tokens computed, and the peak memory of the process in bytes so far."""

    seconds: float
    tokens: int
    peak_bytes: int
    gpu_bytes: int


class Worker:
    """A contender in a process of its own; `start_seconds` is the time to import its library and load the model."""

    def __init__(self, contender: Contender, threads: int) -> None:
        self.contender = contender
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(contender, threads, theirs), daemon=True)
        self._process.start()
        theirs.close()
        started = time.perf_counter()
        self._connection.recv()
        self.start_seconds = time.perf_counter() - started

    def ask(self, query: str, documents: list[str]) -> Answer:
        """Score one request."""
        self._connection.send((query, documents))
        answer: Answer = self._connection.recv()
        return answer

    def close(self) -> None:
        """End the process."""
        self._connection.send(None)
        self._process.join(30)


def _serve(contender: Contender, threads: int, connection: Connection) -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    score = _LIBRARIES[contender.library](contender, threads)
    connection.send("ready")
    while (request := connection.recv()) is not None:
        started = time.perf_counter()
        tokens = score(*request)
        connection.send(Answer(time.perf_counter() - started, tokens, _peak_bytes(), _gpu_bytes(contender.device)))


def _rerankd(contender: Contender, threads: int) -> Callable[[str, list[str]], int]:
    from rerankd import Reranker

    options: dict[str, Any] = {"precision": contender.precision} if contender.precision else {}
    options |= {"compile": False, "backend": contender.backend}
    reranker = Reranker(
        str(contender.model), max_length=MAX_LENGTH, device=contender.device, threads=threads,
        truncation="longest_first", **options,
    )  # fmt: skip
    return lambda query, documents: reranker.rank(query, documents, None).usage.tokens


def _sentence_transformers(contender: Contender, threads: int) -> Callable[[str, list[str]], int]:
    import torch
    from sentence_transformers import CrossEncoder

    torch.set_num_threads(threads)
    dtype = {None: torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[contender.precision]
    model = CrossEncoder(
        str(contender.model), max_length=MAX_LENGTH, device=contender.device, activation_fn=torch.nn.Identity(),
        model_kwargs={"dtype": dtype},
    )  # fmt: skip

    def score(query: str, documents: list[str]) -> int:
        model.predict([(query, document) for document in documents], batch_size=PEER_BATCH, show_progress_bar=False)
        return 0

    return score


_LIBRARIES: dict[str, Callable[[Contender, int], Callable[[str, list[str]], int]]] = {
    "rerankd": _rerankd,
    "sentence-transformers": _sentence_transformers,
    "openvino": lambda contender, threads: peers.openvino(contender.model, contender.precision or "fp32", threads),
    "transformers": lambda contender, threads: peers.transformers_causal(
        contender.model, contender.precision or "fp32", threads
    ),
    "onnxruntime": lambda contender, threads: peers.onnxruntime(contender.model, threads),
}


def _peak_bytes() -> int:
    """Return the peak memory of this program; `ru_maxrss` would include that of the parent before the fork."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("This system does not tell the peak memory of a process; run on Linux.")


def _gpu_bytes(device: str) -> int:
    if device == "cpu":
        return 0
    import torch

    return int(torch.cuda.max_memory_allocated())
