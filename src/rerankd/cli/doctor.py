"""`rerankd doctor`: versions, processor, GPU, backend, hub and missing packages, with advice."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from rich.table import Table

from rerankd._common.optional import install_command, installed
from rerankd._common.processor import HALF_PRECISION_FLAGS, INT8_FLAGS, cpu_flags, cpu_quota, usable_cores
from rerankd._common.version import __version__
from rerankd.cli import options
from rerankd.cli.output import cell, stdout, tick, wants_json, write_rows
from rerankd.errors import RerankdError
from rerankd.models.files import load_model
from rerankd.models.hub import endpoint, offline
from rerankd.scoring.backend import choose_backend
from rerankd.scoring.native import library
from rerankd.settings import load_settings

_FLAGS = ("avx2", "avx512f", "asimd", *sorted(INT8_FLAGS.union(*HALF_PRECISION_FLAGS.values())))
_EXTRAS = (
    ("torch", "torch", "checkpoints, GPUs, compiling"),
    ("onnx", "torch", "compiling"),
    ("pyarrow", "parquet", "parquet files"),
    ("redis", "redis", "cached scores and quotas shared by instances"),
    ("opentelemetry.sdk", "otel", "OpenTelemetry spans"),
)
_PACKAGES = ("onnxruntime", "tokenizers", "huggingface-hub", "numpy", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report; `ok` is None for plain information."""

    name: str
    value: str
    ok: bool | None = None
    advice: str = ""


@options.setting_flags("model")
def doctor(
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the model hub.")] = 3.0,
    as_json: options.Json = False,
    **flags: Any,
) -> None:
    """Report versions, processor, GPU, backend, hub and missing packages. Exit code 1 if the model cannot run."""
    checks = [*_machine(), *_extras(), _hub(timeout), *_model(load_settings(**flags).model)]
    if wants_json(as_json):
        write_rows(asdict(check) for check in checks)
    else:
        table = Table("", "what", "found", "advice")
        for check in checks:
            mark = "" if check.ok is None else tick(check.ok)
            table.add_row(mark, check.name, cell(check.value), cell(check.advice))
        stdout().print(table)
    if any(check.name == "model" and check.ok is False for check in checks):
        raise typer.Exit(1)


def _machine() -> list[Check]:
    flags, quota = [flag for flag in _FLAGS if flag in cpu_flags()], cpu_quota()
    return [
        Check("rerankd", __version__),
        Check("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(Check(name, _version(name)) for name in _PACKAGES),
        Check("cores", f"{usable_cores()} usable" + ("" if quota is None else f", CPU quota {quota:g}")),
        Check(
            "cpu flags",
            ", ".join(flags) or "unknown",
            None,
            _cpu_advice(flags),
        ),
        _gpu(),
    ]


def _cpu_advice(flags: list[str]) -> str:
    if not INT8_FLAGS & set(flags):
        return "no int8 instructions found: int8 models gain less here"
    if library.built_without_kernels():
        return f"{library.unavailable()} Install cc, gcc or clang, then install rerankd again."
    return (library.unavailable() or "") if cpu_flags() >= library.INSTRUCTIONS[-1].flags else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _gpu() -> Check:
    if not installed("torch"):
        return Check("gpu", "not checked: torch is not installed")
    import torch

    if torch.cuda.is_available():
        return Check("gpu", f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}", True)
    build = "a CPU build of torch" if torch.version.cuda is None else "torch finds none"
    return Check("gpu", f"none ({build})", None, "models run on the CPU")


def _extras() -> list[Check]:
    return [
        Check(
            f"extra {extra}: {module}",
            "installed" if installed(module) else "missing",
            installed(module) or None,
            "" if installed(module) else f"for {purpose}: {install_command(extra)}",
        )
        for module, extra, purpose in _EXTRAS
    ]


def _hub(timeout: float) -> Check:
    where = endpoint() or "https://huggingface.co"
    if offline():
        return Check("hub", "HF_HUB_OFFLINE is set", None, "only bundled, local and cached models")
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if not where.startswith(("https://", "http://")):
        return Check("hub", f"HF_ENDPOINT is {where}", False, "it must start with https://")
    try:
        with urlopen(Request(where, method="HEAD"), timeout=timeout):  # noqa: S310  scheme checked above
            pass
    except HTTPError as error:
        return Check("hub", f"{where} reachable (status {error.code})", True)
    except (OSError, ValueError) as error:
        return Check(
            "hub",
            f"{where} not reachable ({type(error).__name__})",
            None,
            "set HF_ENDPOINT to a mirror, or use a local folder; mini needs no network",
        )
    return Check("hub", f"{where} reachable", True)


def _model(reference: str) -> list[Check]:
    try:
        files = load_model(reference)
        choice = choose_backend(files)
    except RerankdError as error:
        return [Check("model", f"{reference}: {error.message}", False, error.hint)]
    megabytes = files.size / 1e6
    return [
        Check("model", f"{files.manifest.name}, {files.manifest.precision}, {megabytes:.0f} MB, files verified", True),
        Check("backend", f"{choice.name} on {choice.device} in {choice.precision}", True, choice.reason),
        Check("python path", sys.executable),
    ]
