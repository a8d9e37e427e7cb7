"""Evidence beside a model's files: parameters, metrics of an evaluation, hashes of data sets, and the state of git."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rerankd._common.json_parsing import parse_json
from rerankd._common.lines import split_lines
from rerankd.errors import InvalidInputFileError
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import sha256
from rerankd.models.template import PromptTemplate

MAX_METRICS = 500
MAX_METRICS_BYTES = 20_000_000
GIT_SECONDS = 5.0
_ROW_NAMES = ("dataset", "data", "system", "model", "measure", "name")
_SINGLE_CASES = ("worst", "best")  # of `rerankd eval`: queries, not measures
_FOREIGN_CHARS = re.compile(r"[^\w./ -]", re.ASCII)


def params_of(files: ModelFiles) -> Mapping[str, Any]:
    """Return the parameters of a model, for MLflow's pages and for `diff`."""
    manifest, architecture = files.manifest, files.manifest.architecture
    template = manifest.template
    if isinstance(template, PromptTemplate):
        shown: Sequence[object] = template.texts(None)
    else:
        shown = template.start, template.middle, template.end
    return {
        "model": manifest.name,
        "family": architecture.family,
        "layers": architecture.layers,
        "hidden": architecture.hidden,
        "parameters": architecture.parameters,
        "vocabulary": architecture.vocabulary,
        "precision": manifest.precision,
        "max_length": manifest.max_length,
        "template": json.dumps(shown),
        "compiled": files.compiled,
        "source": manifest.source,
        "revision": manifest.revision,
        "licence": manifest.licence,
    }


def read_metrics(path: Path) -> Mapping[str, float]:
    """Return the numbers of a JSON or JSON lines file, such as `rerankd eval --json` writes, by names with slashes.

    Raises:
        InvalidInputFileError: the file cannot be read, or has no numbers, or too many.
    """
    try:
        if path.stat().st_size > MAX_METRICS_BYTES:
            raise ValueError("too large")
        text = path.read_bytes().decode("utf-8-sig")
        try:
            content = parse_json(text)
        except ValueError:
            content = [parse_json(line) for line in split_lines(text) if line.strip()]
    except (OSError, ValueError) as error:
        raise InvalidInputFileError(
            f"{path} is not JSON ({error}).", hint="Make one: rerankd eval ... --json > eval.json"
        ) from error
    metrics = dict(_numbers(content, ()))
    if not metrics or len(metrics) > MAX_METRICS:
        raise InvalidInputFileError(
            f"{path} has {len(metrics)} numbers.", hint=f"Pass 1 to {MAX_METRICS}: the summary of an evaluation."
        )
    return metrics


def _numbers(content: object, path: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    if isinstance(content, dict):
        named = tuple(str(content[name]) for name in _ROW_NAMES if isinstance(content.get(name), str))
        for key, value in content.items():
            if key in _SINGLE_CASES and isinstance(value, list):
                continue
            yield from _numbers(value, (*path, *named, str(key)))
    elif isinstance(content, list):
        named_rows = all(isinstance(row, dict) and any(name in row for name in _ROW_NAMES) for row in content)
        for number, value in enumerate(content):
            yield from _numbers(value, path if named_rows else (*path, str(number)))
    elif isinstance(content, int | float) and not isinstance(content, bool) and math.isfinite(content):
        yield "/".join(path)[:200] or "value", float(content)


def mlflow_key(name: str) -> str:
    """Return the name of a metric in the characters that MLflow allows.

    Example:
        >>> mlflow_key("nDCG@10")
        'nDCG_10'
    """
    return _FOREIGN_CHARS.sub("_", name).strip("./") or "_"


def data_hashes(paths: Sequence[Path]) -> Mapping[str, str]:
    """Return the SHA-256 of each file, or of the names and hashes of a folder's files.

    Raises:
        InvalidInputFileError: a path is missing or cannot be read.
    """
    hashes: dict[str, str] = {}
    for path in paths:
        name = path.resolve().name
        while name in hashes:
            name += "+"
        try:
            hashes[name] = sha256(path) if path.is_file() else _folder_hash(path)
        except OSError as error:
            raise InvalidInputFileError(f"{path} cannot be read ({error.strerror}).", hint="Check --data.") from error
    return hashes


def _folder_hash(folder: Path) -> str:
    if not folder.is_dir():
        raise InvalidInputFileError(f"{folder} does not exist.", hint="Check --data.")
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n".encode())
    return total.hexdigest()


def git_state() -> Mapping[str, Any]:
    """Return commit, tag and `changed` of the working folder; empty without git."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return {}
    return {
        "commit": commit,
        "tag": _git("describe", "--tags", "--exact-match"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _git(*arguments: str) -> str:
    try:
        completed = subprocess.run(  # noqa: S603  fixed arguments
            ["git", *arguments],  # noqa: S607  the user's own git
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            check=False,
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return completed.stdout.strip()[:2000] if completed.returncode == 0 else ""
