"""Compilation at first use: a checkpoint that is to run on a CPU is compiled once and kept in a cache.

Its weights are arranged for the kernels of `scoring.native` where these compute it; elsewhere it becomes an int8 ONNX
file. A folder of the cache is complete or absent, since its last step is a rename, and processes that start together
wait for the one that compiles.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rerankd._common.error_text import first_line
from rerankd._common.files import atomic_folder, lock_file
from rerankd._common.logging import logger
from rerankd._common.optional import installed
from rerankd._common.paths import state_folder
from rerankd._common.processor import INT8_FLAGS, cpu_flags
from rerankd._common.progress import progress_bar
from rerankd._common.rank_correlation import Agreement, agreement
from rerankd.compiler.compile import CompileOptions, compile_model, read_pairs, verification_pairs
from rerankd.errors import CorruptModelError, VerificationError
from rerankd.models.digest import remembered_digest
from rerankd.models.families import family
from rerankd.models.families.decoder import DecoderArchitecture
from rerankd.models.files import ModelFiles, load_model
from rerankd.scoring.backend import MIN_HALF_PARAMETERS, Backend, BackendChoice, choose_backend, open_backend
from rerankd.scoring.encoder import EncodedPair
from rerankd.scoring.native.backend import NativeBackend
from rerankd.scoring.native.storage import read_facts, read_weights, write_weights
from rerankd.scoring.native.weights import PackedWeights, array_count, packed_arrays

_log = logger(__name__)

DIGESTS = "digests.json"
FORMAT = 1  # of what is kept; another number makes everything be compiled anew
MIN_KENDALL_TAU = 0.98  # of int8 against bf16, for int8 to be the automatic choice
UNUSED_SECONDS = 30 * 86_400  # after which a folder of the cache is deleted
PARTIAL_SECONDS = 86_400  # after which what a killed process left is deleted
_MADE = re.compile(r".+-(native|onnx)-[0-9a-f]{16}")
_LEFT = re.compile(r"\..+-(native|onnx)-[0-9a-f]{16}\..+\.(partial|old)")


@dataclass(frozen=True, slots=True)
class FirstUse:
    """How a model is opened.

    Attributes:
        backend: `auto`, `onnx`, `native` or `torch`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `auto`, `fp32`, `fp16`, `bf16` or `int8`; None for `auto`.
        threads: CPU threads; 0 for one per core.
        compile: False to run a checkpoint as it is, and to write nothing.
        cache_dir: folder of caches; None for the user's state folder.
    """

    backend: str = "auto"
    device: str = "auto"
    precision: str | None = None
    threads: int = 0
    compile: bool = True
    cache_dir: str | None = None

    @property
    def wanted(self) -> str | None:
        """The precision that was asked for; None for the best one."""
        return None if self.precision == "auto" else self.precision


def open_compiled(files: ModelFiles, use: FirstUse) -> Backend:
    """Open a backend for a model; a checkpoint that runs on the CPU is compiled if it has not been before.

    If the cache cannot be written, a warning says so, and the model runs all the same.

    Args:
        files: a checked model folder.
        use: how to open it.

    Raises:
        InvalidRequestError: arguments that this model or this machine does not support.
        MissingDependencyError: the backend is not installed.
    """
    choice = choose_backend(files, use.backend, use.device, use.precision)
    if not files.compiled and use.compile and choice.device == "cpu":
        if choice.name == "native":
            return _open_packed(files, use, choice)
        if _compiles_to_onnx(files, use):
            opened = _open_onnx(files, use)
            if opened is not None:
                return opened
    return open_backend(files, use.backend, use.device, use.precision, use.threads)


def cache_folder(files: ModelFiles, use: FirstUse, kind: str) -> Path:
    """Return the folder in which the compiled model is kept, which may not exist yet.

    Its name tells the content of the checkpoint, the kind of processor and the options apart.

    Args:
        files: a checkpoint.
        use: how to open it.
        kind: `native` or `onnx`.
    """
    flags = sorted(INT8_FLAGS & cpu_flags())
    root = (Path(use.cache_dir).expanduser() if use.cache_dir else state_folder()) / "compiled"
    known = dict(files.manifest.files) or files.manifest.revision
    content = known or remembered_digest(files, root / DIGESTS)
    key = json.dumps([FORMAT, content, kind, use.wanted, flags], sort_keys=True)
    name = files.manifest.name.replace("/", "--")
    return root / f"{name}-{kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _compiles_to_onnx(files: ModelFiles, use: FirstUse) -> bool:
    """Return whether an int8 ONNX file is faster here than the checkpoint, and can be made."""
    return (
        use.backend == "auto"
        and use.wanted in (None, "int8")
        and family(files.manifest.architecture.family).compiled
        and not isinstance(files.manifest.architecture, DecoderArchitecture)  # int8 seldom keeps their order
        and files.manifest.architecture.parameters >= MIN_HALF_PARAMETERS
        and bool(INT8_FLAGS & cpu_flags())
        and all(map(installed, ("torch", "transformers", "onnx")))
    )


def _kept(folder: Path, make: Callable[[Path], None], name: str) -> bool:
    """Make a folder of the cache unless it exists; return False if the cache cannot be written."""
    try:
        if folder.is_dir():
            with contextlib.suppress(OSError):  # it may be read-only
                os.utime(folder)
            return True
        with lock_file(_lock(folder)):
            if not folder.is_dir():
                _remove_leftovers(folder.parent)
                started = time.perf_counter()
                with atomic_folder(folder) as working:
                    make(working)
                _log.info("Compiled %s in %.1f s; kept in %s", name, time.perf_counter() - started, folder)
        return True
    except (OSError, NotImplementedError) as error:  # the latter where the file system has no locks
        _log.warning(
            "%s cannot be kept compiled in %s (%s); each start compiles it again",
            name,
            folder.parent,
            first_line(error),
        )
        return False


def _lock(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _remove_leftovers(root: Path) -> None:
    """Delete what killed processes left, and models that were not used for a month."""
    for path in root.iterdir():
        made, left = _MADE.fullmatch(path.name), _LEFT.fullmatch(path.name)
        with contextlib.suppress(OSError):  # another process may have moved it
            age = time.time() - path.stat().st_mtime
            if path.is_dir() and ((left and age > PARTIAL_SECONDS) or (made and age > UNUSED_SECONDS)):
                shutil.rmtree(path, ignore_errors=True)


# --- native kernels: packed weights --------------------------------------------------------------------------------


def _open_packed(files: ModelFiles, use: FirstUse, choice: BackendChoice) -> Backend:
    folder, name = cache_folder(files, use, "native"), files.manifest.name
    architecture = files.manifest.architecture
    for last in (False, True):
        if not _kept(folder, lambda working: _write_packed(files, use, working), name):
            break
        try:
            weights = read_weights(folder, architecture)
            tau = read_facts(folder).get("kendall_tau")
        except CorruptModelError as error:
            _log.warning("%s%s", error.message, "" if last else " Compiling it again.")
            with lock_file(_lock(folder)):
                shutil.rmtree(folder, ignore_errors=True)
            continue
        except OSError as error:
            _log.warning("%s cannot be read (%s)", folder, first_line(error))
            break
        _log.info("%s: native on cpu in %s (%s)", name, weights.precision, choice.reason)
        opened = NativeBackend(files, threads=use.threads, weights=weights)
        opened.reason = choice.reason if tau is None else f"{choice.reason}; Kendall's tau of int8 to bf16 is {tau:.3f}"
        return opened
    return NativeBackend(files, precision=choice.precision, threads=use.threads)


def _write_packed(files: ModelFiles, use: FirstUse, folder: Path) -> None:
    """Write packed weights, in int8 if that is asked for, or ranks like bf16."""
    if use.wanted is not None:
        write_weights(folder, _packed(files, use.wanted), {"model": files.manifest.name})
        return
    half, eighth = (_packed(files, precision) for precision in ("bf16", "int8"))
    tau = _agreement(files, half, eighth).kendall_tau
    _log.info("%s: Kendall's tau of int8 to bf16 is %.3f", files.manifest.name, tau)
    chosen = eighth if tau >= MIN_KENDALL_TAU else half
    write_weights(folder, chosen, {"model": files.manifest.name, "kendall_tau": round(tau, 6)})


def _packed(files: ModelFiles, precision: str) -> PackedWeights:
    architecture = files.manifest.architecture
    arrays = dict[str, npt.NDArray[Any]]()
    title = f"Compiling {files.manifest.name} to {precision}"
    _log.info("%s", title)
    with progress_bar(title, sys.stderr.isatty()) as progress:
        for name, array in packed_arrays(architecture, files.checkpoint().tensor, precision):
            arrays[name] = array
            if progress is not None:
                progress(len(arrays), array_count(architecture, precision))
    return PackedWeights(architecture, arrays, precision)


def _agreement(files: ModelFiles, half: PackedWeights, eighth: PackedWeights) -> Agreement:
    groups = verification_pairs(files, read_pairs(CompileOptions().pairs))
    first, second = (_logits(NativeBackend(files, threads=1, weights=weights), groups) for weights in (half, eighth))
    return agreement(first, second)


def _logits(backend: Backend, groups: list[list[EncodedPair]]) -> list[npt.NDArray[np.float32]]:
    return [backend.logits(group) for group in groups]


# --- other CPUs: ONNX ----------------------------------------------------------------------------------------------


def _open_onnx(files: ModelFiles, use: FirstUse) -> Backend | None:
    folder = cache_folder(files, use, "onnx")
    if not _kept(folder, lambda working: _write_onnx(files, working), files.manifest.name):
        return None
    compiled = load_model(str(folder))
    return open_backend(replace(compiled, reference=files.reference), "onnx", "cpu", None, use.threads)


def _write_onnx(files: ModelFiles, folder: Path) -> None:
    """Compile to int8, or to fp32 if int8 does not rank like the checkpoint."""
    for precision in ("int8", "fp32"):
        try:
            compile_model(files, folder, CompileOptions(precision, force=True), lambda step: _log.info("%s", step))
            return
        except VerificationError as error:
            _log.warning("%s", error.message)
            if precision == "fp32":
                raise
