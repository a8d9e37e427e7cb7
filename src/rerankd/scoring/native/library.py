"""The compiled kernels: which of them this machine can run, and their C interface."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rerankd._common.processor import cpu_flags
from rerankd.models.architecture import Architecture
from rerankd.models.families.bert import BertArchitecture
from rerankd.models.families.modernbert import ModernBertArchitecture

FOLDER = Path(__file__).parent  # libraries made by scripts/build_kernels.py; no modules to import
INTERFACE = 2  # of the libraries: signatures and structures below and in encoder.c
SWITCH = "RERANKD_NATIVE"
OFF, ON = ("0", "off", "false", "no"), ("", "1", "on", "true", "yes")
_BASE = frozenset({"avx512f", "avx512bw", "avx512vl", "avx512dq", "fma"})


@dataclass(frozen=True, slots=True)
class Instructions:
    """A set of instructions that the kernels are compiled for.

    Attributes:
        name: value of `RERANKD_NATIVE` that selects it.
        title: its name for people.
        flags: what a CPU must have, as Linux names it.
        shared_calls: whether several threads compute a lone pair; on AMX that was never measured.
    """

    name: str
    title: str
    flags: frozenset[str]
    shared_calls: bool = True

    @property
    def library(self) -> Path:
        """The compiled kernels."""
        return FOLDER / f"libencoder-{self.name}.so.1"


INSTRUCTIONS = (  # the fastest first
    Instructions("amx", "AMX", _BASE | {"amx_tile", "amx_bf16", "amx_int8", "avx512_bf16"}, shared_calls=False),
    Instructions("avx512", "AVX-512 (VNNI, BF16)", _BASE | {"avx512_vnni", "avx512_bf16"}),
    Instructions("vnni", "AVX-512 (VNNI)", _BASE | {"avx512_vnni"}),
)


class Shape(ctypes.Structure):
    """Sizes of an encoder; see `encoder.c`."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("hidden", "inner", "heads", "layers", "int8", "block")),
        *((name, ctypes.c_int32) for name in ("pre_norm", "gated", "mean")),
        ("eps", ctypes.c_float),
    ]


class Linear(ctypes.Structure):
    """Addresses of a linear layer's weights, scales, sums and bias."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("panels", "scale", "sum", "bias")]


class Layer(ctypes.Structure):
    """Weights of a transformer layer, and the window of its attention."""

    _fields_ = [
        *((name, Linear) for name in ("projection", "output", "up", "down")),
        *((name, ctypes.c_void_p) for name in ("attention_norm", "norm", "rotary")),
        ("window", ctypes.c_int64),
    ]


class Embeddings(ctypes.Structure):
    """Addresses of the embedding tables and their normalization."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("words", "positions", "segments", "norm")]


class Head(ctypes.Structure):
    """Addresses of the head's weights, and what it computes with them."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("dense", "dense_bias", "norm", "out", "out_bias")),
        ("activation", ctypes.c_int32),
        ("eps", ctypes.c_float),
    ]


class Comparison(ctypes.Structure):
    """Head of a late-interaction model; see `encoder.c`."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("meaning", "piece", "mix", "cross_bias")),
        *((name, ctypes.c_void_p) for name in ("joint_dense", "joint_dense_bias", "joint_out", "joint_out_bias")),
        *((name, ctypes.c_int32) for name in ("joint", "prefix", "end")),
    ]


def unsupported(architecture: Architecture, *, compiled: bool = False) -> str | None:
    """Return why the kernels cannot compute an architecture, a sentence; None if they can.

    Args:
        architecture: shape of the network.
        compiled: True for weights of an int8 ONNX file.
    """
    if compiled and not isinstance(architecture, BertArchitecture):
        return "The native kernels compute compiled models of BERT and XLM-RoBERTa; pass the checkpoint of another one."
    if not isinstance(architecture, BertArchitecture | ModernBertArchitecture):
        return "The native kernels compute BERT, XLM-RoBERTa and ModernBERT."
    width = architecture.hidden // architecture.heads
    if architecture.hidden % 64 or architecture.intermediate % 64 or width % 32:
        return "The native kernels need sizes that are multiples of 64, and attention heads of a multiple of 32."
    return None


def instructions() -> Instructions | None:
    """Return the instructions that the kernels use in this process; None where they are off, or the CPU lacks them.

    `RERANKD_NATIVE` may name the set: the one that all machines have that must compute the same scores.
    """
    wanted = os.environ.get(SWITCH, "").lower()
    usable = (each for each in INSTRUCTIONS if cpu_flags() >= each.flags and wanted in (each.name, *ON))
    return next(usable, None)


def unavailable() -> str | None:
    """Return why this process does not run the kernels, a sentence; None if it does.

    `RERANKD_NATIVE=off` switches them off, so that machines with and without them compute the same scores.
    """
    wanted, names = os.environ.get(SWITCH, ""), [each.name for each in INSTRUCTIONS]
    if wanted.lower() in OFF:
        return f"The native kernels are switched off by the environment variable {SWITCH}."
    if wanted.lower() not in (*ON, *names):
        return f"{SWITCH} is {wanted!r}, which is none of on, off, {', '.join(names)}."
    if (chosen := instructions()) is None:
        title = next((each.title for each in INSTRUCTIONS if each.name == wanted.lower()), INSTRUCTIONS[-1].title)
        return f"This CPU has no {title}, which the native kernels need."
    if built_without_kernels():
        return "rerankd was installed without its native kernels, since no C compiler for them was found."
    return _loaded(chosen)[1]


def built_without_kernels() -> bool:
    """Return whether this CPU could run the kernels, but the package was built without them."""
    chosen = instructions()
    return chosen is not None and not chosen.library.is_file()


def library() -> ctypes.CDLL:
    """Return the library for the instructions of this machine, whose registers may be used.

    Raises:
        RuntimeError: this machine cannot run it; see `unavailable`.
    """
    chosen = instructions()
    loaded, problem = (None, unavailable()) if chosen is None else _loaded(chosen)
    if loaded is None or problem is not None:
        raise RuntimeError(problem)
    return loaded


@cache
def _loaded(chosen: Instructions) -> tuple[ctypes.CDLL | None, str | None]:
    try:
        loaded = ctypes.CDLL(str(chosen.library))
    except OSError as error:
        return None, f"The native kernels cannot be loaded ({error})."
    if getattr(loaded, "rerankd_interface", lambda: 0)() != INTERFACE:
        return None, "The native kernels were built for another version of rerankd; install the package again."
    loaded.rerankd_memory.restype = ctypes.c_size_t
    loaded.rerankd_memory.argtypes = [ctypes.c_void_p, *[ctypes.c_int64] * 3]
    loaded.rerankd_logits.restype = None
    pointers = [ctypes.c_void_p]
    loaded.rerankd_logits.argtypes = [*pointers * 8, *[ctypes.c_int64] * 3, *pointers * 2]
    loaded.rerankd_compare.restype = None
    loaded.rerankd_compare.argtypes = [*pointers * 11, *[ctypes.c_int64] * 3, *pointers * 2]
    if code := loaded.rerankd_start():
        return None, f"The system does not grant this process the registers of {chosen.title} ({os.strerror(code)})."
    return loaded, None
