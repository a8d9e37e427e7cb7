"""Backends: the protocol, and the choice of one for a model and a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rerankd._common.logging import logger
from rerankd._common.optional import install_command, installed
from rerankd._common.processor import HALF_PRECISION_FLAGS, cpu_flags
from rerankd.errors import InvalidRequestError, MissingDependencyError
from rerankd.models.families import check_compiled, family
from rerankd.models.files import ModelFiles
from rerankd.scoring.encoder import EncodedPair
from rerankd.types import Precision

_log = logger(__name__)

BACKENDS = ("auto", "onnx", "native", "torch")
PRECISIONS = ("auto", "fp32", "fp16", "bf16", "int8")
MIN_HALF_PARAMETERS = 10_000_000  # of a smaller model, products are not what takes the time


class Backend(Protocol):
    """Computes logits; knows nothing of texts, requests or order.

    Attributes:
        name: `onnx`, `native` or `torch`.
        device: `cpu`, `cuda:0`, ...
        precision: precision of the matrix products.
        max_batch_pairs: sequences of one call at most; None for no limit.
        max_batch_tokens: tokens beyond which larger batches are no faster; None for no limit.
        max_padding: share of a batch that may be padding, 0 to 1; None for packed batches, which have none.
        workers: calls that run in parallel, one core each, faster than one after the other; 1 for none.
        single_thread: backend that such calls use; None where `workers` is 1.
        reason: why this backend and precision were chosen, a sentence for people; empty if they were asked for.
    """

    name: str
    device: str
    precision: str
    max_batch_pairs: int | None
    max_batch_tokens: int | None
    max_padding: float | None
    workers: int
    reason: str

    @property
    def single_thread(self) -> Backend | None:
        """The same model on one core, with bit-identical scores."""
        ...

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        """Return the logits of a batch, shape (pairs,), float32; a text encoder its vectors, (pairs, dimensions)."""
        ...

    def release(self) -> None:
        """Free cached memory; called after an out-of-memory error."""
        ...


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """Backend, device and precision for a model.

    Attributes:
        name: `onnx`, `native` or `torch`.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        reason: why they were chosen, a sentence for people.
    """

    name: str
    device: str
    precision: str
    reason: str


def cuda_available() -> bool:
    """Return True if torch is installed and sees a CUDA GPU."""
    if not installed("torch"):
        return False
    import torch

    return bool(torch.cuda.is_available())


def choose_backend(
    files: ModelFiles, backend: str = "auto", device: str = "auto", precision: str | None = None
) -> BackendChoice:
    """Choose backend, device and precision for a model on this machine.

    Args:
        files: a checked model folder.
        backend: `auto`, `onnx`, `native` or `torch`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, `fp16`, `bf16` or `int8`; None or `auto` for the best one that keeps the order of fp32.

    Raises:
        InvalidRequestError: an unknown argument, or one that this machine or this model's files do not support.
        UnsupportedModelError: backend onnx for a family that is not compiled.
        MissingDependencyError: the only backend that can run the model is not installed.
    """
    wanted = None if precision == "auto" else precision
    if backend not in BACKENDS:
        raise InvalidRequestError(f"Unknown backend {backend!r}.", hint=f"Use one of {', '.join(BACKENDS)}.")
    if wanted is not None and wanted not in PRECISIONS:
        raise InvalidRequestError(f"Unknown precision {wanted!r}.", hint=f"Use one of {', '.join(PRECISIONS)}.")
    wants_gpu = device.startswith("cuda")
    if device not in ("auto", "cpu") and not wants_gpu:
        raise InvalidRequestError(f"Unknown device {device!r}.", hint="Use auto, cpu, cuda or cuda:N.")
    if files.compiled:
        return _compiled_choice(files, backend, wants_gpu, wanted)
    if backend == "onnx":
        check_compiled(files.manifest.architecture, files.manifest.name)
        raise InvalidRequestError(
            f"{files.manifest.name} is a checkpoint without an ONNX file.",
            hint=f"Run: rerankd models compile {files.reference} --out DIR, then use DIR; or use backend auto.",
        )
    on_gpu = backend != "native" and device != "cpu" and cuda_available()
    if wants_gpu and not on_gpu:
        why = "backend native computes on the CPU" if backend == "native" else "torch sees no GPU"
        raise InvalidRequestError(
            f"device={device!r}, but {why}.",
            hint="Use device cpu, or check the driver: rerankd doctor.",
        )
    if on_gpu:
        reason = "a checkpoint and a CUDA GPU: packed on the GPU"
        return BackendChoice("torch", device if wants_gpu else "cuda", wanted or "fp16", reason)
    if (choice := _native_choice(files, backend, wanted)) is not None:
        return choice
    if not installed("torch"):
        raise MissingDependencyError(
            f"{files.manifest.name} is a checkpoint, which needs the torch backend, and torch is not installed.",
            hint=f"Run: {install_command('torch')}; or pass a compiled model.",
        )
    return _torch_choice(files, wanted)


def _native_choice(files: ModelFiles, backend: str, wanted: str | None) -> BackendChoice | None:
    """Return the choice of the native backend; None where another one computes the model.

    Raises:
        InvalidRequestError: the native backend is asked for, and cannot compute the model here.
    """
    from rerankd.scoring.native import library  # loads a C library

    problem = library.unavailable() or library.unsupported(files.manifest.architecture, compiled=files.compiled)
    if problem is None and files.compiled and files.manifest.precision != "int8":
        problem = (
            f"{files.manifest.name} is compiled to {files.manifest.precision}; the native kernels compute int8 files."
        )
    if backend == "native" and problem is not None:
        raise InvalidRequestError(problem, hint="Use backend auto.")
    if problem is not None or backend not in ("auto", "native") or wanted not in (None, "bf16", "int8"):
        return None
    chosen = library.instructions()
    model, title = "a compiled model" if files.compiled else "a checkpoint", chosen.title if chosen else "?"
    precision = "int8" if files.compiled else wanted or "bf16"
    return BackendChoice("native", "cpu", precision, f"{model}, and a CPU with {title}: kernels of our own")


def _torch_choice(files: ModelFiles, wanted: str | None) -> BackendChoice:
    advice = "; compile it to be faster" if family(files.manifest.architecture.family).compiled else ""
    precision, reason = wanted or "fp32", f"a checkpoint and no GPU: packed on the CPU{advice}"
    large = files.manifest.architecture.parameters >= MIN_HALF_PARAMETERS
    if wanted is None and large and HALF_PRECISION_FLAGS["bf16"] & cpu_flags():
        precision, reason = "bf16", f"a checkpoint, and a CPU with instructions for bf16{advice}"
    return BackendChoice("torch", "cpu", precision, reason)


def _compiled_choice(files: ModelFiles, backend: str, wants_gpu: bool, wanted: str | None) -> BackendChoice:
    source = files.manifest.source or "the checkpoint it was compiled from"
    if backend == "torch" or wants_gpu:
        place = "a GPU" if wants_gpu else "the torch backend"
        raise InvalidRequestError(
            f"{files.manifest.name} is compiled for CPUs, it cannot run on {place}.", hint=f"Use {source}."
        )
    if wanted not in (None, files.manifest.precision):
        raise InvalidRequestError(
            f"{files.manifest.name} is compiled to {files.manifest.precision}, not {wanted}.",
            hint=f"Compile {files.manifest.source or 'its checkpoint'} again with --precision {wanted}.",
        )
    if (choice := _native_choice(files, backend, wanted)) is not None:
        return choice
    return BackendChoice("onnx", "cpu", files.manifest.precision, "a compiled model: ONNX Runtime on the CPU")


def half_precision(files: ModelFiles, backend: str, device: str) -> Precision:
    """Return `fp16` if the model would run on a CUDA GPU; `auto` elsewhere."""
    return "fp16" if choose_backend(files, backend, device).device.startswith("cuda") else "auto"


def open_backend(
    files: ModelFiles, backend: str = "auto", device: str = "auto", precision: str | None = None, threads: int = 0
) -> Backend:
    """Load a model into the backend that is chosen for it; a backend is imported only when it is used.

    Args:
        files: a checked model folder.
        backend: `auto`, `onnx`, `native` or `torch`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, `fp16`, `bf16`, `int8`; None or `auto` for the best of model and machine.
        threads: CPU threads; 0 for one per core.

    Raises:
        InvalidRequestError: arguments that this model or this machine does not support.
        MissingDependencyError: the backend is not installed.
    """
    choice = choose_backend(files, backend, device, precision)
    _log.info(
        "%s: %s on %s in %s (%s)", files.manifest.name, choice.name, choice.device, choice.precision, choice.reason
    )
    opened = _opened(files, choice, backend, threads)
    opened.reason = choice.reason
    return opened


def _opened(files: ModelFiles, choice: BackendChoice, backend: str, threads: int) -> Backend:
    if choice.name == "onnx":
        from rerankd.scoring.onnx_backend import OnnxBackend

        return OnnxBackend(files, threads=threads)
    if choice.name == "native":
        from rerankd.scoring.native.backend import NativeBackend

        try:
            return NativeBackend(files, precision=choice.precision, threads=threads)
        except InvalidRequestError as error:
            if backend == "native" or not files.compiled:
                raise
            _log.warning("%s ONNX Runtime computes it.", error.message)
            from rerankd.scoring.onnx_backend import OnnxBackend

            return OnnxBackend(files, threads=threads)
    if choice.name == "torch":
        from rerankd.scoring.torch.backend import TorchBackend

        return TorchBackend(files, device=choice.device, precision=choice.precision, threads=threads)
    raise RuntimeError(f"No class opens the backend {choice.name!r}.")
