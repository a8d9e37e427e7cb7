"""Registered versions and moves of the champion, and their JSON records in MLflow.

A version is one JSON record beside MLflow's own row: its files, metrics and origin. A record holds no code, and it is
validated before use, since everybody who can write to the registry can write records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from rerankd.errors import CorruptModelError, InvalidRequestError
from rerankd.models.digest import content_of
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
    """A registered model.

    Attributes:
        name: of the registered model.
        version: version number that MLflow gave.
        content: SHA-256 of the names and hashes of all files; the same content is the same model.
        files: SHA-256 by file name.
        sizes: bytes by file name.
        run_id: MLflow run that holds the files.
        created: seconds since 1970.
        params: architecture, precision, max_length, template and the like.
        metrics: metrics of an evaluation.
        data: SHA-256 of each data set that was used.
        git: commit, tag and `changed` of the working folder; empty without git.
        parent: number of the champion at registration; None if there was none.
        calibration: calibration in the manifest.
        parity: order check of `compile` in the manifest.
        gate: summary of the gate record; empty without one.
        tags: tags of the user.
        verified: True for a checkpoint, or a compiled model that passed its order check.
        approved: reason of a promotion in spite of a missing verification; empty if there was none.
        aliases: aliases that point to it, as far as MLflow returned them.
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
        """Size of all files in bytes."""
        return sum(self.sizes.values())

    @property
    def trusted(self) -> bool:
        """True if an alias may point to it."""
        return self.verified or bool(self.approved)

    def record(self) -> str:
        """Return the JSON record that is stored beside MLflow's row.

        Raises:
            InvalidRequestError: the record is too long for a tag of MLflow.
        """
        text = json.dumps(_VERSION.dump_python(self, exclude=_ROW_FIELDS, mode="json"), ensure_ascii=False)
        if len(text) > MAX_RECORD:
            raise InvalidRequestError(
                f"The record of the model has {len(text)} characters, and at most {MAX_RECORD} can be stored.",
                hint="Pass fewer metrics, tags or data sets.",
            )
        return text

    def dump(self) -> str:
        """Return the version with MLflow's row as JSON, for `load`."""
        row = _VERSION.dump_python(self, include=_ROW_FIELDS - {"aliases"}, mode="json")
        return json.dumps({"record": self.record(), **row})

    @classmethod
    def load(cls, content: bytes) -> Self:
        """Return a version that `dump` wrote.

        Raises:
            ValueError: the content is not a version.
        """
        try:
            row = json.loads(content)
            return cls.from_record(row.pop("record"), **row)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(str(error)) from error

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """Return the version of a row of MLflow.

        Raises:
            CorruptModelError: rerankd did not register it, or its record is damaged.
        """
        tags: Mapping[str, str] = row.tags
        if RECORD_TAG not in tags:
            raise CorruptModelError(
                f"{row.name} {row.version} was not registered by rerankd.", hint="Run: rerankd models register"
            )
        try:
            return cls.from_record(
                tags[RECORD_TAG],
                name=str(row.name),
                version=int(row.version),
                run_id=str(row.run_id or ""),
                created=float(row.creation_timestamp or 0) / 1000,
                approved=str(tags.get(APPROVED_TAG, "")),
                aliases=tuple(str(alias) for alias in row.aliases or ()),
            )
        except (ValueError, TypeError) as error:
            reason = f"{error.error_count()} invalid fields" if isinstance(error, ValidationError) else error
            raise CorruptModelError(
                f"The record of {row.name} {row.version} is damaged ({reason}).", hint="Register the model again."
            ) from error

    @classmethod
    def from_record(cls, record: str, **row: Any) -> Self:
        """Return the version of a record and the values of MLflow's row.

        Raises:
            ValueError: the record is damaged.
        """
        fields = json.loads(record)
        if not isinstance(fields, dict) or not fields.keys() >= _RECORD_FIELDS:
            raise ValueError("fields are missing")
        # As JSON, since strict validation takes no dictionary for a dataclass.
        content = json.dumps({name: fields[name] for name in _RECORD_FIELDS} | row)
        version = _VERSION.validate_json(content, strict=True)
        check_files(version)
        return cast("Self", version)


_ROW_FIELDS = {"name", "version", "run_id", "created", "approved", "aliases"}
_RECORD_FIELDS = {field.name for field in fields(ModelVersion)} - _ROW_FIELDS
_VERSION = TypeAdapter(ModelVersion)


def plain_file_name(name: str) -> bool:
    """Return whether a file of this name may be part of a version.

    Example:
        >>> plain_file_name("model.onnx"), plain_file_name("../model.onnx")
        (True, False)
    """
    return _FILE_NAME.fullmatch(name) is not None


def check_files(made: ModelVersion) -> None:
    """Check the list of files.

    Raises:
        ValueError: the list is not that of a model folder.
    """
    if not 0 < len(made.files) <= MAX_FILES or set(made.files) != set(made.sizes):
        raise ValueError("the file list is empty, too long, or does not match the sizes")
    if not all(plain_file_name(name) and _SHA256.fullmatch(made.files[name]) for name in made.files):
        raise ValueError("a file name or SHA-256 is invalid")
    if any(not isinstance(size, int) or size < 0 for size in made.sizes.values()) or made.size > MAX_BYTES:
        raise ValueError("a file size is invalid, or the files are too large")
    if made.content != content_of(made.files):
        raise ValueError("the content hash does not match the files")


def validate_name(name: str) -> str:
    """Return a name for a registered model, unchanged, if it is valid.

    Raises:
        InvalidRequestError: the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise InvalidRequestError(
            f"{name[:100]!r} is not a valid model name.", hint="Use letters, digits, dots, dashes: medical-v2."
        )
    return name


def validate_alias(alias: str) -> str:
    """Return an alias that may be set by hand, unchanged; `champion` and `previous` are moved by promotions only.

    Raises:
        InvalidRequestError: the alias is invalid.
    """
    if not _ALIAS.fullmatch(alias):
        raise InvalidRequestError(f"{alias[:100]!r} is not a valid alias.", hint="Start with a letter: challenger.")
    if alias in (CHAMPION, PREVIOUS):
        raise InvalidRequestError(f"{alias} is not set by hand.", hint="Use: rerankd models promote, or rollback")
    return alias


@dataclass(frozen=True, slots=True)
class AliasMove:
    """A promotion or a rollback of the champion.

    Attributes:
        action: `promote` or `rollback`.
        name: of the registered model.
        before: champion before; None if there was none.
        after: champion after.
        user: user of the operating system. Stored as `who`.
        when: seconds since 1970.
        reason: reason that the user or the experiment gave.
        gate: result of the gate: `passed`, `refused`, `unproven` or `missing`; empty for a rollback.
        forced: True if checks were overridden.
        done: True if the aliases were moved; False while it is under way, or if it was interrupted.
        changed: False if the version was champion already and nothing was written.
    """

    action: Literal["promote", "rollback"]
    name: str
    before: int | None
    after: int
    user: Annotated[str, Field(alias="who")]
    when: float
    reason: str
    gate: str = ""
    forced: bool = False
    done: bool = False
    changed: bool = True

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def record(self) -> str:
        """Return the move as JSON."""
        return json.dumps(_MOVE.dump_python(self, by_alias=True, mode="json"), ensure_ascii=False)

    @classmethod
    def from_record(cls, record: str) -> Self:
        """Return the move of a JSON record.

        Raises:
            ValueError: the record is not a move.
        """
        return cast("Self", _MOVE.validate_json(record))


_MOVE = TypeAdapter(AliasMove)
