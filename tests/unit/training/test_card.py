from __future__ import annotations

from pathlib import Path
from typing import Any

from rerankd.models.files import load_model
from rerankd.training.card import card, write_card
from tests.registered import variant

RECORD: dict[str, Any] = {
    "name": "zoo",
    "base": "mini",
    "base_version": "abc",
    "options": {
        "method": "lora",
        "loss": "softmax",
        "groups_per_step": 4,
        "group_size": 8,
        "max_length": 256,
        "precision": "int8",
    },
    "examples": {"kept": 10, "dropped": {"empty texts": 2}, "leaked": 1},
    "training": 9,
    "validation": 1,
    "general": 5,
    "data": "0123456789abcdef0123",
    "steps": 20,
    "validation_loss": {"before": 1.5, "after": 0.75},
    "learning_parameters": 12345,
    "seconds": 1.5,
    "peak_memory_mb": 900,
    "compiled": {"kendall_tau": 0.98765, "pairs": 60},
    "lora": {"pairs": 64, "largest": 2e-6, "head_unchanged": True},
}


def test_a_card_says_what_the_model_is_made_of() -> None:
    text = card(RECORD, "MIT")
    for part in (
        "license: mit",
        "# zoo",
        "9 training queries",
        "2 empty texts, 1 evaluation query",
        "12,345",
        "0.988",
        "2.0e-06",
        "1.500 before training, 0.750 after",
    ):
        assert part in text
    assert "license" not in card(RECORD)
    assert "Merged" not in card({key: value for key, value in RECORD.items() if key != "lora"})


def test_a_card_is_one_of_the_models_files(tiny: Path, tmp_path: Path) -> None:
    model = variant(tiny, tmp_path / "model", 2.0)
    write_card(model, RECORD)
    manifest = load_model(str(model)).manifest
    assert "README.md" in manifest.files
    assert "机" not in (model / "README.md").read_text(encoding="utf-8")
