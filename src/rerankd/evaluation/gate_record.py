"""The record of a gate: limits, checks and decision, signed and stored as JSON."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import ConfigDict, Field, TypeAdapter

from rerankd._common.files import writable, write_atomic
from rerankd._common.plural import counted
from rerankd.errors import InvalidInputFileError, InvalidRequestError

MIN_KEY = 16

Number = int | float
"""A number that is written as it was read: a signature covers `3` and `3.0` differently."""

_FORBID_UNKNOWN = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class GateLimits:
    """Limits for a candidate; gain and loss are differences of the first measure of the evaluation.

    Attributes:
        gain: the lower 95 % bound of the difference on each domain set must be above this.
        loss: the lower bound on each general set must be above minus this.
        regressions: maximum number of closed bad cases that get worse.
        calibration: maximum rise of the expected calibration error on the domain over the champion's.
        latency: maximum ratio of the median latency to the champion's.
        size: maximum ratio of the bytes of the weights to the champion's.
    """

    gain: Number = 0.0
    loss: Number = 0.005
    regressions: int = 0
    calibration: Number = 0.02
    latency: Number = 1.2
    size: Number = 1.1

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID_UNKNOWN


@dataclass(frozen=True, slots=True)
class GateCheck:
    """One limit with the measured value.

    Attributes:
        name: name of the check, such as `latency`.
        passed: True if the limit was met.
        measured: measured value.
        limit: limit of the value.
        message: explanation in one sentence. Stored as `says`.
    """

    name: str
    passed: bool
    measured: Number
    limit: Number
    message: Annotated[str, Field(alias="says")]

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID_UNKNOWN


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The record of a gate; its fields are the keys of the file.

    Attributes:
        candidate: name and version of the candidate, as `name@version`.
        champion: name and version of the champion.
        passed: True if every check passed.
        checks: all checks.
        limits: limits of the checks.
        data: SHA-256 of the judgements of each dataset, by its name.
        time: seconds since 1970.
        signature: HMAC-SHA256 of all other fields; empty if the record is not signed.
        digest: SHA-256 of the candidate's files (`rerankd.models.digest`); empty in records of older releases.
    """

    candidate: str
    champion: str
    passed: bool
    checks: tuple[GateCheck, ...]
    limits: GateLimits
    data: Mapping[str, str]
    time: Number
    signature: str = field(default="")
    digest: str = ""

    __pydantic_config__: ClassVar[ConfigDict] = _FORBID_UNKNOWN

    def content(self) -> bytes:
        """Return the bytes that are signed: all fields but the signature, as JSON with sorted keys."""
        record = self._record()
        del record["signature"]
        return orjson.dumps(record, option=orjson.OPT_SORT_KEYS)

    def _record(self) -> dict[str, Any]:
        record: dict[str, Any] = _DECISION.dump_python(self, by_alias=True)
        if not self.digest:  # records of older releases have no digest, and their signatures stay valid
            del record["digest"]
        return record

    def to_json(self) -> bytes:
        """Return the record as indented JSON."""
        return orjson.dumps(self._record(), option=orjson.OPT_INDENT_2)

    def signed(self, key: str) -> GateDecision:
        """Return the record with its signature.

        Raises:
            InvalidRequestError: the key is too short to be secure.
        """
        if len(key) < MIN_KEY:
            raise InvalidRequestError(
                f"The signing key has {counted(len(key), 'character')}.",
                hint=f"Use a key of at least {MIN_KEY} characters.",
            )
        signature = hmac.new(key.encode(), self.content(), hashlib.sha256).hexdigest()
        return replace(self, signature=signature)

    def valid(self, key: str) -> bool:
        """Return True if the signature is that of this record under a key."""
        return bool(self.signature) and hmac.compare_digest(self.signed(key).signature, self.signature)


_DECISION: TypeAdapter[GateDecision] = TypeAdapter(GateDecision)


def write_decision(path: Path, decision: GateDecision) -> None:
    """Write a record as indented JSON, in one atomic step.

    Raises:
        InvalidRequestError: the path cannot be written.
    """
    with writable(path):
        write_atomic(path, decision.to_json() + b"\n")


def read_decision(path: Path) -> GateDecision:
    """Read a record.

    Raises:
        InvalidInputFileError: the file cannot be read, or is not a gate record.
    """
    try:
        return _DECISION.validate_json(path.read_bytes(), strict=True)
    except (OSError, ValueError) as error:  # pydantic's ValidationError is a ValueError
        raise InvalidInputFileError(f"{path} is not a gate record.", hint="Make one: rerankd gate") from error
