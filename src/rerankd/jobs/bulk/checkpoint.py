"""How far a run is: one small JSON file, replaced as a whole."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import orjson

from rerankd.errors import InvalidInputFileError
from rerankd.jobs.bulk import files
from rerankd.jobs.bulk.reader import Offset

FORMAT = 1
_EDGE = 64 * 1024
INPUT = ("input_size", "input_time", "input_edges")
RunFingerprint = Mapping[str, str | int | bool | None]


@dataclass(frozen=True, slots=True)
class RunCheckpoint:
    """A moment between two chunks.

    Attributes:
        fingerprint: what the output is a function of: input, model, options.
        position: place in the input behind the last row that was written.
        chunks: chunks that were written.
        bytes: length of the output.
        failed_bytes: length of the list of rows without a score.
        pairs: pairs that were scored.
        unscored: rows without a score.
        tokens: tokens of the scored pairs.
        truncated: pairs of which something was not read.
        finished: whether every row was written.
    """

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

    def write(self, path: Path) -> None:
        """Replace the file."""
        files.replace(path, orjson.dumps({"format": FORMAT, **dataclasses.asdict(self)}, option=orjson.OPT_INDENT_2))

    @classmethod
    def read(cls, path: Path) -> RunCheckpoint | None:
        """The journal in a file; None where there is none.

        Raises:
            InvalidInputFileError: it is not one, or written by another version.
        """
        try:
            content = orjson.loads(path.read_bytes())
            if content.pop("format") != FORMAT:
                raise ValueError("another format")
            return cls(**content | {"position": Offset(**content["position"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidInputFileError(
                f"{path} is not a journal of this version.", hint="Start over with --restart."
            ) from error


def input_fingerprint(path: Path) -> RunFingerprint:
    """What tells one input file from another: size, time, and a hash of its beginning and end.

    Raises:
        InvalidInputFileError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            edges = blake2b(file.read(_EDGE), digest_size=16)
            file.seek(max(0, found.st_size - _EDGE))
            edges.update(file.read(_EDGE))
    except OSError as error:
        raise InvalidInputFileError(f"{path} cannot be read ({error.strerror}).", hint="Check the path.") from error
    return dict(zip(INPUT, (found.st_size, found.st_mtime_ns, edges.hexdigest()), strict=True))


def differences(then: RunFingerprint, now: RunFingerprint) -> list[str]:
    """Names of what is not as it was.

    Example:
        >>> differences({"model": "a", "top_n": None}, {"model": "b", "top_n": None})
        ['model']
    """
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
