"""The manifest `rerankd.json` of a model folder: architecture, origin, and the hash of each file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerankd._common.json_parsing import parse_json
from rerankd.errors import CorruptModelError
from rerankd.models.architecture import Architecture
from rerankd.models.families import family
from rerankd.models.template import Template, read_template

FILE_NAME = "rerankd.json"
FORMAT = 1
CHECKED = ("model.onnx", "model.onnx.data", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Description of a model folder.

    Attributes:
        name: name of the model.
        architecture: shape of the network.
        template: special token ids, or the texts of a prompt, around query and document.
        max_length: longest pair in tokens; longer ones are truncated.
        precision: `fp32` or `int8` for a compiled model, the stored type for a checkpoint.
        source: reference that it was compiled from; empty for a checkpoint.
        revision: commit of the source, if known.
        files: SHA-256 by file name.
        calibration: parameters of Platt scaling that are folded into the weights, if calibrated.
        parity: report of the verification by `compile`, if compiled.
        licence: SPDX name, if known.
    """

    name: str
    architecture: Architecture
    template: Template
    max_length: int
    precision: str
    source: str = ""
    revision: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    calibration: Mapping[str, float] | None = None
    parity: Mapping[str, Any] | None = None
    licence: str = ""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `rerankd.json` into `folder`."""
    content = {"format": FORMAT, **dataclasses.asdict(manifest)}
    (folder / FILE_NAME).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a folder; None if it has none.

    Raises:
        CorruptModelError: the manifest is not valid, or its format is newer than this version of rerankd.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if (written := content.pop("format")) > FORMAT:
            raise CorruptModelError(
                f"{path}: manifest format {written} is newer than this rerankd.", hint="Upgrade rerankd."
            )
        if any(Path(name).name != name for name in content["files"]):
            raise ValueError("a file outside the folder")
        template = read_template(content.pop("template"))
        shape = content.pop("architecture")
        architecture = family(shape["family"]).architecture(**shape)
        return Manifest(**content, architecture=architecture, template=template)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorruptModelError(
            f"{path} is not a valid manifest ({error}).", hint="Compile the model again: rerankd models compile."
        ) from error


def check_hashes(folder: Path, manifest: Manifest) -> None:
    """Compare each file in the manifest with its hash.

    Raises:
        CorruptModelError: a file is missing, not listed, or was changed after the manifest was written.
    """
    unlisted = [name for name in CHECKED if (folder / name).is_file() and name not in manifest.files]
    if unlisted:
        raise CorruptModelError(
            f"{folder}: {FILE_NAME} has no SHA-256 for {unlisted[0]}.", hint="Compile the model again."
        )
    for name, expected in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise CorruptModelError(
                f"{folder}: {name} is missing.", hint="Copy the whole folder, or fetch the model again."
            )
        if sha256(path) != expected:
            raise CorruptModelError(
                f"{path}: SHA-256 differs from the manifest; the file was damaged or replaced.",
                hint="Fetch or compile the model again.",
            )
