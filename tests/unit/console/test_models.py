"""Content of the pages of models: every word exists in both languages."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args, get_type_hints

from rerankd.console.messages import messages
from rerankd.console.model_view import GATES, SIGNATURES, difference_rows, gate_word, version_row
from rerankd.console.models import NOTICES
from rerankd.registry.diff import Difference
from rerankd.registry.gates import SignatureState
from rerankd.registry.version import AliasMove, ModelVersion

VERSION = ModelVersion("med", 1, "c" * 64, {"model.onnx": "a" * 64}, {"model.onnx": 5}, "run", 0.0)


def test_every_choice_has_its_words() -> None:
    actions = get_args(get_type_hints(AliasMove)["action"])
    chosen = {
        "notice": NOTICES,
        "gate": GATES,
        "signature": SIGNATURES,
        "action": actions,
        "group": ("params", "metrics", "data", "git", "tags", "calibration", "parity"),
    }
    missing = {f"models.{part}_{name}" for part, names in chosen.items() for name in names} - set(messages())
    assert missing == set()
    assert set(SIGNATURES) == set(get_args(SignatureState))


def test_a_version_needs_force_as_the_registry_asks() -> None:
    def needs(needs_signature: bool = False, **changes: object) -> bool:
        version = ModelVersion(**{field.name: getattr(VERSION, field.name) for field in fields(VERSION)} | changes)
        return bool(version_row(version, needs_signature=needs_signature)["needs_force"])

    passed = {"passed": True, "signed": False}
    assert gate_word(VERSION) == "missing"
    assert needs(verified=True)
    assert needs(verified=True, gate={"passed": False})
    assert needs(gate=passed)
    assert not needs(verified=True, gate=passed)
    assert not needs(approved="needed", gate=passed)
    assert needs(True, verified=True, gate=passed)
    assert not needs(True, verified=True, gate=passed | {"signed": True})


def test_a_difference_has_a_change_where_both_are_numbers() -> None:
    rows = difference_rows(
        [Difference("metrics/x", 0.5, 0.75), Difference("verified", True, False), Difference("y", None, 1)]
    )
    assert [row["change"] for row in rows] == [0.25, None, None]
