"""Backends that misbehave as told, for tests of the engine and of whole servers."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rerankd.models.files import ModelFiles, load_model
from rerankd.scoring.encoder import EncodedPair, PairEncoder
from rerankd.scoring.scorer import Scorer


class ScriptedBackend:
    """Scores by the sum of the ids, and fails as it is told.

    Attributes:
        poison: a token id; a batch that holds it raises.
        always: raise on every call.
        fits: tokens beyond which memory runs out.
        deadly: leave the thread instead of raising an error.
        nan: a token id whose pair gets NaN.
        gate: calls wait until it is set.
    """

    name = "scripted"
    device = "cpu"
    precision = "fp32"
    max_batch_pairs: int | None = None
    max_batch_tokens: int | None = None
    max_padding: float | None = None
    workers = 1
    reason = ""
    single_thread = None

    def __init__(self) -> None:
        self.poison: int | None = None
        self.nan: int | None = None
        self.always = False
        self.fits: int | None = None
        self.deadly = False
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.calls: list[list[int]] = []
        self.released = 0

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        self.calls.append([len(pair) for pair in pairs])
        self.entered.release()
        self.gate.wait()
        if self.deadly:
            raise SystemExit("the thread ends")
        if self.always or (self.poison is not None and any(self.poison in pair.ids for pair in pairs)):
            raise RuntimeError("secret internals at /some/path")
        if self.fits is not None and sum(map(len, pairs)) > self.fits:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        values = [np.nan if self.nan in pair.ids else expected(pair) for pair in pairs]
        return np.array(values, dtype=np.float32)

    def release(self) -> None:
        self.released += 1


def expected(pair: EncodedPair) -> float:
    """Return the logit of the scripted backend for a pair."""
    return float(int(pair.ids.sum()) % 997) / 100 - 5


def scripted_scorer(backend: ScriptedBackend, files: ModelFiles | None = None) -> Scorer:
    """Return the bundled model's tokenizer in front of a scripted backend."""
    files = files or load_model("mini")
    return Scorer(PairEncoder(files.tokenizer(), files.manifest.template), backend)


def token_id(word: str) -> int:
    """Return the bundled tokenizer's id of a word, or of its longest piece."""
    ids = load_model("mini").tokenizer().encode(word, add_special_tokens=False)
    return int(max(zip(ids.tokens, ids.ids, strict=True), key=lambda piece: len(piece[0].strip("▁")))[1])
