"""Options of an improvement run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson

from rerankd.evaluation.gate_record import GateLimits
from rerankd.training.options import TrainOptions

OnlineTrial = Literal["none", "shadow", "canary", "interleave"]


@dataclass(frozen=True, slots=True)
class ImproveOptions:
    """Data, models and limits of an improvement run.

    Attributes:
        name: name of the registered model.
        out: folder of the run.
        data: paths of training examples.
        domain: BEIR folders on which the candidate has to gain.
        general: BEIR folders on which the candidate must not lose.
        replay: paths of general training examples, replayed against forgetting.
        cases: True to train on labelled bad cases of the traces.
        base: reference of the model to start from; empty for the registry's champion, or `mini`.
        served: name that requests use.
        online: kind of online trial; `shadow` compares without answering.
        shadow_requests: rankings that a shadow experiment compares before the next step.
        training: options of the training step.
        max_queries: queries of each data set at the gate; None for all.
        limits: limits of the gate.
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
    online: OnlineTrial = "canary"
    shadow_requests: int = 200
    training: TrainOptions = field(default_factory=TrainOptions)
    max_queries: int | None = None
    limits: GateLimits = field(default_factory=GateLimits)

    def fingerprint(self) -> str:
        """Return the options as canonical JSON; a run with other options is another run."""
        return orjson.dumps(dataclasses.asdict(self), default=str, option=orjson.OPT_SORT_KEYS).decode()
