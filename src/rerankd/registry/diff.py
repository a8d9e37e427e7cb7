"""Differences between two versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rerankd.registry.version import ModelVersion

_IGNORED = ("name", "run_id", "content", "aliases")


@dataclass(frozen=True, slots=True)
class Difference:
    """A field with different values in two versions; None if a version lacks it."""

    field: str
    a: Any
    b: Any


def differences(a: ModelVersion, b: ModelVersion) -> list[Difference]:
    """Return the fields in which two versions differ, nested ones with slashes: `metrics/nDCG@10`."""
    left, right = dict(_flatten(_fields(a))), dict(_flatten(_fields(b)))
    names = dict.fromkeys([*left, *right])
    return [Difference(name, left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)]


def _fields(version: ModelVersion) -> dict[str, Any]:
    fields = asdict(version) | {"bytes": version.size}
    return {name: value for name, value in fields.items() if name not in _IGNORED}


def _flatten(fields: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in fields.items():
        pairs += _flatten(value, f"{prefix}{key}/") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return pairs
