"""What an improvement is to do, what it has done, and the file that remembers it."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.evaluation.gate import GateLimits
from rerankd.training.finetune import TrainOptions

Online = Literal["none", "shadow", "canary", "interleave"]
State = Literal["done", "waiting", "refused"]
STEPS = ("collect", "train", "gate", "register", "shadow", "online", "promote")
FILE_NAME = "improve.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do.

    Attributes:
        name: of the registered model.
        out: folder of the run.
        data: paths of examples.
        domain: BEIR folders on which the candidate has to gain.
        general: BEIR folders on which it must not lose; also replayed in training where they are not judged.
        replay: paths of general examples.
        cases: whether labelled bad cases are collected from the traces.
        base: reference of the model to start from; empty for the registry's champion, or mini.
        served: name that requests use.
        online: how it is tried on requests; `shadow` only looks on.
        shadow_requests: rankings that a shadow compares before the next step.
        training: options of training.
        max_queries: of each set at the gate.
        limits: of the gate.
    """

    name: str
    out: Path
    data: tuple[Path, ...] = ()
    domain: tuple[Path, ...] = ()
    general: tuple[Path, ...] = ()
    replay: tuple[Path, ...] = ()
    cases: bool = True
    base: str = ""
    served: str = "mini"
    online: Online = "canary"
    shadow_requests: int = 200
    training: TrainOptions = field(default_factory=TrainOptions)
    max_queries: int | None = None
    limits: GateLimits = field(default_factory=GateLimits)

    def mark(self) -> str:
        """The plan as it is remembered; another plan is another run."""
        return orjson.dumps(dataclasses.asdict(self), default=str, option=orjson.OPT_SORT_KEYS).decode()


@dataclass(frozen=True, slots=True)
class Done:
    """A step that was taken.

    Attributes:
        state: `waiting` for requests, `refused` for good, or `done`.
        says: one sentence.
        found: what later steps need.
        time: seconds since 1970.
    """

    state: State
    says: str
    found: Mapping[str, Any] = field(default_factory=dict)
    time: float = 0.0


class Ledger:
    """The steps of a run, in a file that is whole at all times.

    Args:
        plan: what the run is of.

    Raises:
        InvalidInputFileError: the file is damaged.
        InvalidRequestError: the folder holds a run of another plan.
    """

    def __init__(self, plan: Plan) -> None:
        self._path, self._mark = plan.out / FILE_NAME, plan.mark()
        self.steps: dict[str, Done] = {}
        if not self._path.is_file():
            return
        try:
            held = orjson.loads(self._path.read_bytes())
            mark, steps = held["plan"], {name: Done(**step) for name, step in held["steps"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputFileError(f"{self._path} is damaged.", hint="Begin anew: --restart.") from error
        if mark != self._mark:
            raise InvalidRequestError(
                f"{plan.out} holds a run with other arguments.", hint="Pass the same arguments, --restart, or --out."
            )
        self.steps = steps

    def write(self, name: str, done: Done) -> None:
        """Remember a step."""
        self.steps[name] = dataclasses.replace(done, time=time.time())
        content = {"plan": self._mark, "steps": {key: dataclasses.asdict(step) for key, step in self.steps.items()}}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
        os.replace(partial, self._path)

    def found(self, name: str, key: str) -> Any:
        """What a step found."""
        return self.steps[name].found[key]
