"""What is known of a registered version, and of the moves of its aliases; how both are written down in MLflow.

A version is one JSON record beside MLflow's own row: what its files are, what was measured, where it came from. Nothing
in it is code, and nothing of it is believed before it is checked, since whoever writes to the registry wrote it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from rerankd.errors import CorruptModelError, InvalidRequestError
from rerankd.models.reference import CHAMPION

CHALLENGER, PREVIOUS = "challenger", "previous"
RECORD_TAG, CONTENT_TAG, APPROVED_TAG = "rerankd.record", "rerankd.content", "rerankd.approved"
MOVE_TAG = "rerankd.move."
MAX_RECORD = 90_000
MAX_FILES = 64
MAX_BYTES = 64 * 10**9
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][\w.+-]{0,199}", re.ASCII)
_ALIAS = re.compile(r"(?!(?i:latest)$|[vV]?\d+$)[A-Za-z][\w-]{0,99}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A model as it was registered.

    Attributes:
        name: of the registered model.
        version: number that the registry gave.
        content: SHA-256 of names and hashes of all files: versions with the same content are the same model.
        files: SHA-256 by file name.
        sizes: bytes by file name.
        run_id: run of MLflow that holds the files.
        created: seconds since 1970.
        params: architecture, precision, max_length, template and the like.
        metrics: what an evaluation measured.
        data: SHA-256 of each data set it was made with.
        git: commit, tag and whether there were changes, of the working folder; empty without git.
        parent: champion when this one was registered, if there was one.
        calibration: as the manifest says.
        parity: report of `compile`, as the manifest says.
        gate: summary of the record of `rerankd gate`; empty without one.
        tags: given by people.
        verified: whether it is a checkpoint, or compiled and found to rank like its source.
        approved: why it was promoted although it was not verified; empty if it was not.
        aliases: that lead to it, as far as MLflow said.
    """

    name: str
    version: int
    content: str
    files: Mapping[str, str]
    sizes: Mapping[str, int]
    run_id: str
    created: float
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    git: Mapping[str, Any] = field(default_factory=dict)
    parent: int | None = None
    calibration: Mapping[str, Any] | None = None
    parity: Mapping[str, Any] | None = None
    gate: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    verified: bool = False
    approved: str = ""
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes.values())

    @property
    def trusted(self) -> bool:
        """Whether an alias may lead to it."""
        return self.verified or bool(self.approved)

    def record(self) -> str:
        """What is written beside MLflow's row.

        Raises:
            InvalidRequestError: it is too large to be kept.
        """
        text = json.dumps({name: value for name, value in asdict(self).items() if name in _KEPT}, ensure_ascii=False)
        if len(text) > MAX_RECORD:
            raise InvalidRequestError(
                f"What there is to say about the model takes {len(text)} characters, and {MAX_RECORD} are kept.",
                hint="Pass fewer metrics, tags or data sets.",
            )
        return text

    @classmethod
    def of(cls, found: Any) -> Self:
        """Read MLflow's row.

        Raises:
            CorruptModelError: rerankd did not register it, or its record was damaged.
        """
        tags: Mapping[str, str] = found.tags
        if RECORD_TAG not in tags:
            raise CorruptModelError(
                f"{found.name} {found.version} was not registered by rerankd.", hint="Run: rerankd models register"
            )
        aliases = tuple(str(alias) for alias in found.aliases or ())
        try:
            return cls.read(
                tags[RECORD_TAG],
                name=str(found.name),
                version=int(found.version),
                run_id=str(found.run_id or ""),
                created=float(found.creation_timestamp or 0) / 1000,
                approved=str(tags.get(APPROVED_TAG, "")),
                aliases=aliases,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CorruptModelError(
                f"The record of {found.name} {found.version} is damaged ({error}).", hint="Register the model again."
            ) from error

    @classmethod
    def read(cls, record: str, **own: Any) -> Self:
        """Read a record, with what MLflow's row says beside it.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it is none.
        """
        said = json.loads(record)
        made = cls(**{name: said[name] for name in _KEPT} | own)
        check_files(made)
        if not isinstance(made.verified, bool) or not isinstance(made.gate, dict):
            raise ValueError("fields of the wrong kind")
        return made


_OWN = {"name", "version", "run_id", "created", "approved", "aliases"}
_KEPT = [one.name for one in fields(ModelVersion) if one.name not in _OWN]


def content_of(files: Mapping[str, str]) -> str:
    """SHA-256 of names and hashes.

    Example:
        >>> content_of({"b": "2", "a": "1"}) == content_of({"a": "1", "b": "2"})
        True
    """
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def plain_file_name(name: str) -> bool:
    """Whether a file of this name may be part of a version.

    Example:
        >>> plain_file_name("model.onnx"), plain_file_name("../model.onnx")
        (True, False)
    """
    return _FILE_NAME.fullmatch(name) is not None


def check_files(made: ModelVersion) -> None:
    """Check the list of files.

    Raises:
        ValueError: it cannot be the list of a model folder.
    """
    if not 0 < len(made.files) <= MAX_FILES or set(made.files) != set(made.sizes):
        raise ValueError("its list of files")
    if not all(plain_file_name(name) and _SHA256.fullmatch(made.files[name]) for name in made.files):
        raise ValueError("the name or hash of a file")
    if any(not isinstance(size, int) or size < 0 for size in made.sizes.values()) or made.size > MAX_BYTES:
        raise ValueError("the size of a file")
    if made.content != content_of(made.files):
        raise ValueError("its content is not that of its files")


def checked_name(name: str) -> str:
    """A name under which a model may be registered.

    Raises:
        InvalidRequestError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"{name[:100]!r} is no name for a registered model.", hint="Use letters, digits, dots, dashes: medical-v2."
        )
    return name


def checked_alias(alias: str) -> str:
    """An alias that people may set by hand; the champion and what it replaced are moved by `promote` and `rollback`.

    Raises:
        InvalidRequestError: it is none.
    """
    if not _ALIAS.fullmatch(alias):
        raise InvalidRequestError(f"{alias[:100]!r} is no alias.", hint="Begin with a letter, as in challenger.")
    if alias in (CHAMPION, PREVIOUS):
        raise InvalidRequestError(f"{alias} is not set by hand.", hint="Use: rerankd models promote, or rollback")
    return alias


@dataclass(frozen=True, slots=True)
class Move:
    """A decision about the champion.

    Attributes:
        action: `promote` or `rollback`.
        name: of the registered model.
        before: version that was champion; None for none.
        after: version that is.
        who: user of the operating system.
        when: seconds since 1970.
        reason: in their words.
        gate: `passed`, `refused`, `missing` or `unsigned`, as it was found; empty for a rollback.
        forced: whether checks were overruled.
        done: False if it was begun and nothing tells that it ended.
        changed: False if it was so already, and nothing was written.
    """

    action: Literal["promote", "rollback"]
    name: str
    before: int | None
    after: int
    who: str
    when: float
    reason: str
    gate: str = ""
    forced: bool = False
    done: bool = False
    changed: bool = True

    def text(self) -> str:
        """What is written down."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what was written down.

        Raises:
            ValueError, TypeError: it is no move.
        """
        return cls(**json.loads(text))
