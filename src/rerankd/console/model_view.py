"""Content of the pages of models: served models, versions, moves of the champion, and gate records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rerankd.engine.pool import MEGABYTE, ServedModel
from rerankd.models.reference import CHAMPION
from rerankd.registry.diff import Difference
from rerankd.registry.gates import GateRecord
from rerankd.registry.registry import History
from rerankd.registry.version import PREVIOUS, AliasMove, ModelVersion
from rerankd.server.model_cards import computation
from rerankd.server.service import Service

LOADED = (
    *("bytes", "backend", "device", "precision", "reason", "version"),
    *("max_length", "takes_instruction", "instruction"),
)
"""Facts about a model that are known only while it is loaded."""
MAX_METRICS = 6  # of a version, in the list; all of them stand on its page
GATES = ("passed", "refused", "unproven", "missing")
SIGNATURES = ("valid", "invalid", "unsigned", "unchecked")


def served_models(service: Service) -> list[dict[str, Any]]:
    """Return the models that the instance serves, and the challengers of experiments that it has loaded."""
    pool = service.pool
    followed = {} if service.follower is None else {row["model"]: row for row in service.follower.details()}
    served = [_served(service, name, pool.reference(name), followed.get(name)) for name in pool.names]
    challengers = [_served(service, name, reference, None) for name, reference in sorted(_unlisted(service).items())]
    return [*served, *challengers]


def _unlisted(service: Service) -> dict[str, str]:
    return {name: reference for name, reference in service.pool.unlisted.items() if name in service.pool.loaded}


def _served(service: Service, name: str, reference: str, followed: Mapping[str, Any] | None) -> dict[str, Any]:
    model = service.pool.loaded.get(name)
    alias = {} if followed is None else {"alias": followed["reference"], "alias_version": followed["version"]}
    return {
        "name": name,
        "reference": reference,
        "is_default": name == service.pool.default,
        "is_challenger": name not in service.pool.names,
        "loaded": model is not None,
        **(dict.fromkeys(LOADED) if model is None else _loaded(model)),
        **(alias or {"alias": None, "alias_version": None}),
        "fault": "" if followed is None else followed.get("reason", ""),
    }


def _loaded(model: ServedModel) -> dict[str, Any]:
    values = {
        "bytes": model.files.size,
        "version": model.engine.version,
        "max_length": model.truncation.max_length,
        "takes_instruction": model.takes_instruction,
        "instruction": model.truncation.instruction,
    } | computation(model.engine.scorer.backend)
    return {name: values[name] for name in LOADED}


def memory(service: Service) -> dict[str, Any]:
    """Return the bytes of the loaded weights and their limit, 0 for none."""
    return {
        "bytes": sum(model.files.size for model in service.pool.loaded.values()),
        "limit_bytes": service.settings.max_loaded_mb * MEGABYTE,
    }


def version_row(version: ModelVersion, *, needs_signature: bool) -> dict[str, Any]:
    """Return a version as a list shows it.

    Args:
        version: the version.
        needs_signature: True if only signed gate records count.
    """
    gate, is_signed = gate_word(version), bool(version.gate.get("signed"))
    return {
        "version": version.version,
        "aliases": list(version.aliases),
        "created": version.created,
        "parent": version.parent,
        "verified": version.verified,
        "approved": version.approved,
        "gate": gate,
        "signed": is_signed,
        "needs_force": gate != "passed" or not version.trusted or (needs_signature and not is_signed),
        "bytes": version.size,
        "metrics": dict(list(version.metrics.items())[:MAX_METRICS]),
        "more_metrics": max(0, len(version.metrics) - MAX_METRICS),
    }


def gate_word(version: ModelVersion) -> str:
    """Return the result of the gate that a version's record claims: `passed`, `refused` or `missing`."""
    if not version.gate:
        return "missing"
    return "passed" if version.gate.get("passed") is True else "refused"


def version_content(version: ModelVersion, gate: GateRecord | None, *, needs_signature: bool) -> dict[str, Any]:
    """Return all that is known of a version.

    Args:
        version: the version.
        gate: its gate record; None if it has none.
        needs_signature: True if only signed gate records count.
    """
    fields = asdict(version)
    groups = ("params", "metrics", "data", "git", "tags", "calibration", "parity")
    return version_row(version, needs_signature=needs_signature) | {
        "name": version.name,
        "content": version.content,
        "run_id": version.run_id,
        "files": [
            {"name": name, "sha256": version.files[name], "bytes": version.sizes[name]} for name in version.files
        ],
        "groups": {group: fields[group] or {} for group in groups},
        "gate_record": None if gate is None else _gate_content(gate),
    }


def _gate_content(gate: GateRecord) -> dict[str, Any]:
    decision = gate.decision
    return {
        "candidate": decision.candidate,
        "champion": decision.champion,
        "passed": decision.passed,
        "time": decision.time,
        "unchanged": gate.unchanged,
        "signature": gate.signature,
        "checks": [asdict(check) for check in decision.checks],
        "data": dict(decision.data),
    }


def model_content(name: str, history: History, *, needs_signature: bool) -> dict[str, Any]:
    """Return the content of a registered model's page.

    Args:
        name: name of the registered model.
        history: its versions and moves.
        needs_signature: True if only signed gate records count.
    """
    versions = [version_row(version, needs_signature=needs_signature) for version in history.versions]
    aliases = {alias: row["version"] for row in versions for alias in row["aliases"]}
    previous = aliases.get(PREVIOUS)
    return {
        "name": name,
        "versions": versions,
        "champion": aliases.get(CHAMPION),
        "previous": previous,
        "can_roll_back": previous is not None and previous != aliases.get(CHAMPION),
        "moves": [move_entry(move) for move in history.moves],
    }


def move_entry(move: AliasMove) -> dict[str, Any]:
    """Return a move of the champion as the history shows it."""
    return {
        "time": move.when,
        "action": move.action,
        "before": move.before,
        "after": move.after,
        "author": move.user,
        "reason": move.reason,
        "gate": move.gate,
        "is_known_gate": move.gate in GATES,
        "forced": move.forced,
        "done": move.done,
    }


def difference_rows(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """Return the differences of two versions, with the change where both are numbers."""
    return [
        {
            "field": difference.field,
            "a": difference.a,
            "b": difference.b,
            "change": difference.b - difference.a if _are_numbers(difference.a, difference.b) else None,
        }
        for difference in differences
    ]


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
