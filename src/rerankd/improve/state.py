"""State of an improvement run: the result of each step, in a file that survives a crash."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from rerankd._common.files import write_atomic
from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.improve.options import ImproveOptions

StepState = Literal["done", "waiting", "refused"]
STEPS = ("collect", "train", "gate", "register", "shadow", "online", "promote")
FILE_NAME = "improve.json"


@dataclass(frozen=True, slots=True)
class StepResult:
    """Result of a step.

    Attributes:
        state: `done`, `waiting` for requests, or `refused` for good.
        message: one sentence. Stored as `says`.
        outputs: values that later steps need. Stored as `found`.
        time: end of the step, in seconds since 1970.
    """

    state: StepState
    message: Annotated[str, Field(alias="says")]
    outputs: Annotated[Mapping[str, Any], Field(alias="found")] = field(default_factory=dict)
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class _StateFile:
    fingerprint: Annotated[str, Field(alias="plan")]
    steps: dict[str, StepResult]


_STATE_FILE = TypeAdapter(_StateFile)


class RunState:
    """Results of the steps of a run, kept in `improve.json`.

    Args:
        options: options of the run.

    Raises:
        InvalidInputFileError: the file is damaged.
        InvalidRequestError: the folder holds a run with other options.
    """

    def __init__(self, options: ImproveOptions) -> None:
        self._path, self._fingerprint = options.out / FILE_NAME, options.fingerprint()
        self.steps: dict[str, StepResult] = {}
        if not self._path.is_file():
            return
        try:
            stored = _STATE_FILE.validate_json(self._path.read_bytes())
        except (OSError, ValidationError) as error:
            raise InvalidInputFileError(f"{self._path} is damaged.", hint="Start over with --restart.") from error
        if stored.fingerprint != self._fingerprint:
            raise InvalidRequestError(
                f"{options.out} holds a run with other arguments.",
                hint="Pass the same arguments, start over with --restart, or use another --out.",
            )
        self.steps = stored.steps

    def write(self, step: str, result: StepResult) -> None:
        """Store the result of a step."""
        self.steps[step] = replace(result, time=time.time())
        content = _STATE_FILE.dump_json(_StateFile(self._fingerprint, self.steps), by_alias=True, indent=2)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._path, content + b"\n")

    def output(self, step: str, key: str) -> Any:
        """Return a value that an earlier step stored."""
        return self.steps[step].outputs[key]
