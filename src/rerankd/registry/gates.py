"""The record of `rerankd gate` beside a version: is it there, is it about this model, did it pass, is it signed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankd.errors import InvalidInputFileError, PromotionRefusedError
from rerankd.evaluation.gate import GateDecision, read_decision
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import sha256
from rerankd.registry.verification import versions_of
from rerankd.registry.version import ModelVersion

FILE_NAME = "gate.json"
MAX_BYTES = 1_000_000
_OVERRULE = "Run `rerankd gate` and register the model again with --gate, or promote it with --force and a --reason."


def read_gate(path: Path, files: ModelFiles) -> Mapping[str, Any]:
    """Summary of a record, which has to be about a model.

    Raises:
        InvalidInputFileError: it is no record, or one about another model.
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InvalidInputFileError(f"{path} is too large for a record of a gate.", hint="Make one: rerankd gate")
    decision = read_decision(path)
    if not isinstance(decision.candidate, str) or not isinstance(decision.passed, bool):
        raise InvalidInputFileError(f"{path} is no record of a gate.", hint="Make one: rerankd gate")
    if not any(decision.candidate.endswith(f"{files.manifest.name}-{known}") for known in versions_of(files)):
        raise InvalidInputFileError(
            f"{path} is about another model, {decision.candidate[:100]}.", hint="Run `rerankd gate` with this model."
        )
    return {
        "passed": decision.passed,
        "candidate": decision.candidate,
        "champion": decision.champion,
        "signed": bool(decision.signature),
        "sha256": sha256(path),
    }


def check_gate(version: ModelVersion, record: Path | None, key: str | None) -> None:
    """Refuse a version that a gate did not let pass.

    Args:
        version: that wants in.
        record: the gate's record as the registry has it; None if there is none.
        key: what the record has to be signed with; None if that is not asked.

    Raises:
        PromotionRefusedError: the record is missing, changed, not signed, or says no.
    """
    if not version.gate or record is None:
        raise PromotionRefusedError(f"{version} has no record of a gate.", hint=_OVERRULE)
    try:
        decision = read_decision(record)
    except InvalidInputFileError as error:
        raise PromotionRefusedError(f"The gate's record of {version} cannot be read.", hint=_OVERRULE) from error
    if sha256(record) != version.gate.get("sha256"):
        raise PromotionRefusedError(f"The gate's record of {version} was changed.", hint=_OVERRULE)
    if key and not _signed(decision, key):
        raise PromotionRefusedError(
            f"The gate's record of {version} is not signed with RERANKD_GATE_KEY.",
            hint="Run `rerankd gate` where the key is set and register the model again, or use --force and a --reason.",
        )
    if decision.passed is not True or not all(check.passed for check in decision.checks):
        failed = next((check.says for check in decision.checks if not check.passed), "")
        raise PromotionRefusedError(f"The gate refused {version}. {failed}".strip(), hint=_OVERRULE)


def _signed(decision: GateDecision, key: str) -> bool:
    return bool(decision.signature) and decision.valid(key)
