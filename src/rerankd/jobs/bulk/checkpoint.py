"""Checkpoint of a bulk run: one small JSON file, replaced as a whole."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

from rerankd.errors import InvalidInputFileError
from rerankd.jobs.bulk import files
from rerankd.jobs.bulk.reader import Offset

_EDGE = 64 * 1024
INPUT = ("input_size", "input_time", "input_edges")
RunFingerprint = Mapping[str, str | int | bool | None]


@dataclass(frozen=True, slots=True)
class RunCheckpoint:
    """Progress of a run between two chunks, from which it can be resumed.

    Attributes:
        fingerprint: everything that the output depends on: input, model, options.
        position: offset in the input behind the last row that was written.
        chunks: chunks written.
        bytes: length of the output.
        failed_bytes: length of the file of rows without a score.
        pairs: pairs scored.
        unscored: rows without a score.
        tokens: tokens of the scored pairs.
        truncated: scored pairs of which some text was cut.
        finished: True once every row is written.
        format: version of this file format.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", hide_input_in_errors=True)

    fingerprint: RunFingerprint
    position: Offset = field(default_factory=Offset)
    chunks: int = 0
    bytes: int = 0
    failed_bytes: int = 0
    pairs: int = 0
    unscored: int = 0
    tokens: int = 0
    truncated: int = 0
    finished: bool = False
    format: Literal[1] = 1

    def write(self, path: Path) -> None:
        """Replace the checkpoint file."""
        files.replace(path, _CHECKPOINT.dump_json(self, indent=2))

    @classmethod
    def read(cls, path: Path) -> RunCheckpoint | None:
        """Return the checkpoint in a file; None if there is no file.

        Raises:
            InvalidInputFileError: the file is not a checkpoint of this format.
        """
        try:
            return _CHECKPOINT.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InvalidInputFileError(
                f"{path} is not a checkpoint of this version.", hint="Start over with --restart."
            ) from error


_CHECKPOINT = TypeAdapter(RunCheckpoint)
_CLASS_NAME = re.compile(r"\b[A-Z][A-Za-z]+\((?=max_length=)")


def input_fingerprint(path: Path) -> RunFingerprint:
    """Return what identifies an input file: its size, its time, and a hash of its first and last 64 KiB.

    Raises:
        InvalidInputFileError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            edges = blake2b(file.read(_EDGE), digest_size=16)
            file.seek(max(0, status.st_size - _EDGE))
            edges.update(file.read(_EDGE))
    except OSError as error:
        raise InvalidInputFileError(f"{path} cannot be read ({error.strerror}).", hint="Check the path.") from error
    return dict(zip(INPUT, (status.st_size, status.st_mtime_ns, edges.hexdigest()), strict=True))


def differences(then: RunFingerprint, now: RunFingerprint) -> list[str]:
    """Return the names of the values that differ.

    Example:
        >>> differences({"model": "a", "top_n": None}, {"model": "b", "top_n": None})
        ['model']
    """
    return sorted(name for name in then.keys() | now.keys() if _plain(then.get(name)) != _plain(now.get(name)))


def _plain(value: object) -> object:
    """Drop the class names that earlier checkpoints have before the truncation options."""
    return _CLASS_NAME.sub("(", value) if isinstance(value, str) else value
