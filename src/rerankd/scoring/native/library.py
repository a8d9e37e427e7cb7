"""The compiled kernels: whether this machine can run them, and their C interface."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from rerankd._common.processor import cpu_flags
from rerankd.models.architecture import Architecture
from rerankd.models.families.bert import BertArchitecture

LIBRARY = Path(__file__).with_name("libencoder.so.1")  # made by scripts/build_kernels.py; no module to import
INTERFACE = 1  # of the library: signatures and structures below and in encoder.c
SWITCH = "RERANKD_NATIVE"
FLAGS = frozenset({"amx_tile", "amx_bf16", "amx_int8", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16"})


class Shape(ctypes.Structure):
    """Sizes of an encoder; see `encoder.c`."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("hidden", "inner", "heads", "layers", "int8", "block")),
        ("eps", ctypes.c_float),
    ]


class Linear(ctypes.Structure):
    """Addresses of a linear layer's weights, scales, sums and bias."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("panels", "scale", "sum", "bias")]


class Layer(ctypes.Structure):
    """Weights of a transformer layer."""

    _fields_ = [
        *((name, Linear) for name in ("projection", "output", "up", "down")),
        *((name, ctypes.c_void_p) for name in ("attention_norm", "norm")),
    ]


class Embeddings(ctypes.Structure):
    """Addresses of the embedding tables and their normalization."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("words", "positions", "segments", "norm")]


class Head(ctypes.Structure):
    """Addresses of the head's weights."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("dense", "dense_bias", "out", "out_bias")]


class Comparison(ctypes.Structure):
    """Head of a late-interaction model; see `encoder.c`."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("meaning", "piece", "mix", "cross_bias")),
        *((name, ctypes.c_void_p) for name in ("joint_dense", "joint_dense_bias", "joint_out", "joint_out_bias")),
        *((name, ctypes.c_int32) for name in ("joint", "prefix", "end")),
    ]


def unsupported(architecture: Architecture) -> str | None:
    """Return why the kernels cannot compute an architecture, a sentence; None if they can."""
    if not isinstance(architecture, BertArchitecture):
        return "The native kernels compute BERT and XLM-RoBERTa."
    width = architecture.hidden // architecture.heads
    if architecture.hidden % 64 or architecture.intermediate % 64 or width % 32:
        return "The native kernels need sizes that are multiples of 64, and attention heads of a multiple of 32."
    return None


def unavailable() -> str | None:
    """Return why this process does not run the kernels, a sentence; None if it does.

    `RERANKD_NATIVE=off` switches them off, so that machines with and without AMX compute the same scores.
    """
    if os.environ.get(SWITCH, "").lower() in ("0", "off", "false", "no"):
        return f"The native kernels are switched off by the environment variable {SWITCH}."
    if not cpu_flags() >= FLAGS:
        return "This CPU has no AMX instructions for bf16 and int8."
    if built_without_kernels():
        return "rerankd was installed without its native kernels, since no C compiler was found."
    return _loaded()[1]


def built_without_kernels() -> bool:
    """Return whether this CPU could run the kernels, but the package was built without them."""
    return cpu_flags() >= FLAGS and not LIBRARY.is_file()


def library() -> ctypes.CDLL:
    """Return the library, whose tile registers may be used.

    Raises:
        RuntimeError: this machine cannot run it; see `unavailable`.
    """
    loaded, problem = _loaded()
    if loaded is None or problem is not None:
        raise RuntimeError(problem)
    return loaded


@cache
def _loaded() -> tuple[ctypes.CDLL | None, str | None]:
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        return None, f"The native kernels cannot be loaded ({error})."
    if getattr(loaded, "rerankd_interface", lambda: 0)() != INTERFACE:
        return None, "The native kernels were built for another version of rerankd; install the package again."
    loaded.rerankd_memory.restype = ctypes.c_size_t
    loaded.rerankd_memory.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    loaded.rerankd_logits.restype = None
    pointers = [ctypes.c_void_p]
    loaded.rerankd_logits.argtypes = [*pointers * 8, ctypes.c_int64, ctypes.c_int64, *pointers * 2]
    loaded.rerankd_compare.restype = None
    loaded.rerankd_compare.argtypes = [*pointers * 11, ctypes.c_int64, ctypes.c_int64, *pointers * 2]
    if code := loaded.rerankd_start():
        return None, f"The system does not grant this process the tile registers of AMX ({os.strerror(code)})."
    return loaded, None
