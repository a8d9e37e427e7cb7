"""Backends: the protocol, and the choice of one for a model and a machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rerankd._common.optional import install_command, installed
from rerankd.errors import InvalidRequestError, MissingDependencyError
from rerankd.models.files import ModelFiles
from rerankd.scoring.encoder import EncodedPair
from rerankd.types import Precision

BACKENDS = ("auto", "onnx", "torch")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")


class Backend(Protocol):
    """Computes logits; knows nothing of texts, requests or order.

    Attributes:
        name: `onnx` or `torch`.
        device: `cpu`, `cuda:0`, ...
        precision: precision of the matrix products.
        max_batch_pairs: sequences of one call at most; None for no limit.
        max_batch_tokens: tokens beyond which larger batches are no faster; None for no limit.
        max_padding: share of a batch that may be padding, 0 to 1; None for packed batches, which have none.
        workers: calls that run in parallel, one core each, faster than one after the other; 1 for none.
        single_thread: backend that such calls use; None where `workers` is 1.
    """

    name: str
    device: str
    precision: str
    max_batch_pairs: int | None
    max_batch_tokens: int | None
    max_padding: float | None
    workers: int

    @property
    def single_thread(self) -> Backend | None:
        """The same model on one core, with bit-identical scores."""
        ...

    def logits(self, pairs: Sequence[EncodedPair]) -> npt.NDArray[np.float32]:
        """Return the logits of a batch, shape (pairs,), float32."""
        ...

    def release(self) -> None:
        """Free cached memory; called after an out-of-memory error."""
        ...


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """Backend and device for a model.

    Attributes:
        name: `onnx` or `torch`.
        device: `cpu`, `cuda` or `cuda:N`.
        reason: why it was chosen, a sentence for people.
    """

    name: str
    device: str
    reason: str


def cuda_available() -> bool:
    """Return True if torch is installed and sees a CUDA GPU."""
    if not installed("torch"):
        return False
    import torch

    return bool(torch.cuda.is_available())


def choose_backend(files: ModelFiles, backend: str = "auto", device: str = "auto") -> BackendChoice:
    """Choose the backend and the device for a model on this machine.

    Args:
        files: a checked model folder.
        backend: `auto`, `onnx` or `torch`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        InvalidRequestError: an unknown backend or device, or a device that cannot run this model's files.
        MissingDependencyError: the only backend that can run the model is not installed.
    """
    if backend not in BACKENDS:
        raise InvalidRequestError(f"Unknown backend {backend!r}.", hint=f"Use one of {', '.join(BACKENDS)}.")
    wants_gpu = device.startswith("cuda")
    if device not in ("auto", "cpu") and not wants_gpu:
        raise InvalidRequestError(f"Unknown device {device!r}.", hint="Use auto, cpu, cuda or cuda:N.")
    if files.compiled:
        return _compiled_choice(files, backend, wants_gpu)
    if backend == "onnx":
        raise InvalidRequestError(
            f"{files.manifest.name} is a checkpoint without an ONNX file.",
            hint=f"Run: rerankd models compile {files.reference} --out DIR, then use DIR; or use backend torch.",
        )
    if not installed("torch"):
        raise MissingDependencyError(
            f"{files.manifest.name} is a checkpoint, which needs the torch backend, and torch is not installed.",
            hint=f"Run: {install_command('torch')}; or pass a compiled model.",
        )
    gpu = cuda_available()
    if wants_gpu and not gpu:
        raise InvalidRequestError(
            f"device={device!r}, but torch sees no CUDA GPU.",
            hint="Use device cpu, or check the driver: rerankd doctor.",
        )
    if gpu and device != "cpu":
        return BackendChoice("torch", device if wants_gpu else "cuda", "a checkpoint and a CUDA GPU: packed on the GPU")
    return BackendChoice("torch", "cpu", "a checkpoint and no GPU: packed on the CPU; compile it to be faster")


def _compiled_choice(files: ModelFiles, backend: str, wants_gpu: bool) -> BackendChoice:
    if backend == "torch" or wants_gpu:
        wanted = "the torch backend" if backend == "torch" else "a GPU"
        source = files.manifest.source or "the checkpoint it was compiled from"
        raise InvalidRequestError(
            f"{files.manifest.name} is compiled for ONNX on the CPU, it cannot run on {wanted}.", hint=f"Use {source}."
        )
    return BackendChoice("onnx", "cpu", "a compiled model: ONNX Runtime on the CPU")


def half_precision(files: ModelFiles, backend: str, device: str) -> Precision | None:
    """Return `fp16` if the model would run on a CUDA GPU; None elsewhere."""
    return "fp16" if choose_backend(files, backend, device).device.startswith("cuda") else None


def open_backend(
    files: ModelFiles, backend: str = "auto", device: str = "auto", precision: str | None = None, threads: int = 0
) -> Backend:
    """Load a model into the backend that is chosen for it; a backend is imported only when it is used.

    Args:
        files: a checked model folder.
        backend: `auto`, `onnx` or `torch`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `fp32`, `fp16`, `bf16`, `int8`; None for the backend's own (CPU fp32, CUDA fp16, or as compiled).
        threads: CPU threads; 0 for one per core.

    Raises:
        InvalidRequestError: arguments that this model or this machine does not support.
        MissingDependencyError: the backend is not installed.
    """
    choice = choose_backend(files, backend, device)
    if precision is not None and precision not in PRECISIONS:
        raise InvalidRequestError(f"Unknown precision {precision!r}.", hint=f"Use one of {', '.join(PRECISIONS)}.")
    if choice.name == "onnx":
        if precision not in (None, files.manifest.precision):
            raise InvalidRequestError(
                f"{files.manifest.name} is compiled to {files.manifest.precision}, not {precision}.",
                hint=f"Compile {files.manifest.source or 'its checkpoint'} again with --precision {precision}.",
            )
        from rerankd.scoring.onnx_backend import OnnxBackend

        return OnnxBackend(files, threads=threads)
    if choice.name == "torch":
        from rerankd.scoring.torch_backend import TorchBackend

        return TorchBackend(files, device=choice.device, precision=precision, threads=threads)
    raise RuntimeError(f"No class opens the backend {choice.name!r}.")
