"""`rerankd doctor`: what this machine has, what is used and why, what is missing and how to get it."""

from __future__ import annotations

import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from rerankd._common.optional import installed
from rerankd._common.version import __version__
from rerankd.cli import options
from rerankd.cli.output import cell, stdout, wants_json, write_rows
from rerankd.errors import RerankdError
from rerankd.models.files import load_model
from rerankd.models.hub import endpoint, offline
from rerankd.models.session import usable_cores
from rerankd.scoring.backend import choose_backend
from rerankd.settings import load_settings

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "i8mm")
_EXTRAS = (
    ("torch", "torch", "checkpoints, GPUs, compiling"),
    ("onnx", "torch", "compiling"),
    ("pyarrow", "parquet", "parquet files"),
    ("redis", "redis", "scores and quotas shared by instances"),
    ("opentelemetry.sdk", "otel", "traces"),
)
_PACKAGES = ("onnxruntime", "tokenizers", "huggingface-hub", "numpy", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `ok` is None where nothing is right or wrong."""

    name: str
    value: str
    ok: bool | None = None
    advice: str = ""


def doctor(
    model: options.Model = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the hub.")] = 3.0,
    as_json: options.Json = False,
) -> None:
    """Report versions, processor, GPU, backend, hub and what is missing. Exit code 1 if the model cannot run."""
    findings = [*_machine(), *_extras(), _hub(timeout), *_model(load_settings(model=model).model)]
    if wants_json(as_json):
        write_rows(asdict(finding) for finding in findings)
    else:
        table = Table("", "what", "found", "advice")
        for finding in findings:
            mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: ""}[finding.ok]
            table.add_row(mark, finding.name, cell(finding.value), cell(finding.advice))
        stdout().print(table)
    if any(finding.name == "model" and finding.ok is False for finding in findings):
        raise typer.Exit(1)


def _machine() -> list[Finding]:
    flags = [flag for flag in _FLAGS if flag in _cpu_flags()]
    fast = any("vnni" in flag or flag in ("amx_int8", "i8mm") for flag in flags)
    return [
        Finding("rerankd", __version__),
        Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *(Finding(name, _version(name)) for name in _PACKAGES),
        Finding("cores", f"{usable_cores()} usable"),
        Finding(
            "cpu flags",
            ", ".join(flags) or "unknown",
            None,
            "" if fast else "no int8 instructions seen: int8 gains less here",
        ),
        _gpu(),
    ]


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    line = next((row for row in text.splitlines() if row.lower().startswith(("flags", "features"))), "")
    return set(line.partition(":")[2].split())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _gpu() -> Finding:
    if not installed("torch"):
        return Finding("gpu", "not looked for: torch is not installed")
    import torch

    if torch.cuda.is_available():
        return Finding("gpu", f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}", True)
    build = "a CPU build of torch" if torch.version.cuda is None else "torch sees none"
    return Finding("gpu", f"none ({build})", None, "models run on the CPU")


def _extras() -> list[Finding]:
    return [
        Finding(
            f"extra {extra}: {module}",
            "installed" if installed(module) else "missing",
            installed(module) or None,
            "" if installed(module) else f'for {purpose}: pip install "rerankd[{extra}]"',
        )
        for module, extra, purpose in _EXTRAS
    ]


def _hub(timeout: float) -> Finding:
    where = endpoint() or "https://huggingface.co"
    if offline():
        return Finding("hub", "HF_HUB_OFFLINE is set", None, "only bundled, local and cached models")
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    if not where.startswith(("https://", "http://")):
        return Finding("hub", f"HF_ENDPOINT is {where}", False, "it must begin with https://")
    try:
        with urlopen(Request(where, method="HEAD"), timeout=timeout):  # noqa: S310  scheme checked above
            pass
    except HTTPError as error:
        return Finding("hub", f"{where} reachable (status {error.code})", True)
    except (OSError, ValueError) as error:
        return Finding(
            "hub",
            f"{where} not reachable ({type(error).__name__})",
            None,
            "set HF_ENDPOINT to a mirror, or use local folders; mini needs no network",
        )
    return Finding("hub", f"{where} reachable", True)


def _model(reference: str) -> list[Finding]:
    try:
        files = load_model(reference)
        choice = choose_backend(files)
    except RerankdError as error:
        return [Finding("model", f"{reference}: {error.message}", False, error.hint)]
    megabytes = files.size / 1e6
    return [
        Finding("model", f"{files.manifest.name}, {files.manifest.precision}, {megabytes:.0f} MB, files checked", True),
        Finding("backend", f"{choice.name} on {choice.device}", True, choice.reason),
        Finding("python path", sys.executable),
    ]
