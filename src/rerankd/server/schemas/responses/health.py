"""Answers of the probes: is the process alive, is the service ready."""

from __future__ import annotations

from typing import Literal, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict


@with_config(ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]}))
class LivenessResponse(TypedDict):
    """Liveness of the process.

    Attributes:
        status: `ok`, or `stuck` when only a restart helps.
    """

    status: Literal["ok", "stuck"]


class FollowedModel(TypedDict):
    """A model that follows an alias of the registry.

    Attributes:
        model: name of the model in the service.
        reference: alias that is followed.
        version: number of the version in service; null before it is known.
        stale: true if the alias cannot be resolved at present.
        reason: why; absent without a fault.
    """

    model: str
    reference: str
    version: int | None
    stale: bool
    reason: NotRequired[str]


@with_config(ConfigDict(json_schema_extra={"examples": [{"status": "ready"}]}))
class ReadinessResponse(TypedDict):
    """Readiness of the service.

    Attributes:
        status: `ready`, or `not ready`.
        reason: why it is not ready; absent otherwise.
        registry: models that follow the registry; absent without any.
        details: degradations that do not affect readiness; absent without any.
    """

    status: Literal["ready", "not ready"]
    reason: NotRequired[str]
    registry: NotRequired[list[FollowedModel]]
    details: NotRequired[str]


@with_config(ConfigDict(json_schema_extra={"examples": [{"unix": 1796083200.25}]}))
class InfinityHealth(TypedDict):
    """Health, as Infinity writes it.

    Attributes:
        unix: time of the answer, in seconds since 1970.
    """

    unix: float
