"""In what two versions differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rerankd.registry.version import ModelVersion

_SAME_OR_SAID = ("name", "run_id", "content", "aliases")


@dataclass(frozen=True, slots=True)
class Difference:
    """Something in which two versions differ; None for what one of them lacks."""

    field: str
    a: Any
    b: Any


def differences(a: ModelVersion, b: ModelVersion) -> list[Difference]:
    """What is not the same, by names with slashes, such as `metrics/nDCG@10`."""
    one, other = dict(_flat(_told(a))), dict(_flat(_told(b)))
    fields = dict.fromkeys([*one, *other])
    return [
        Difference(field, one.get(field), other.get(field)) for field in fields if one.get(field) != other.get(field)
    ]


def _told(version: ModelVersion) -> dict[str, Any]:
    said = asdict(version)
    said["bytes"] = version.size
    return {name: value for name, value in said.items() if name not in _SAME_OR_SAID}


def _flat(said: Mapping[str, Any], place: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in said.items():
        found += _flat(value, f"{place}{key}/") if isinstance(value, dict) else [(f"{place}{key}", value)]
    return found
