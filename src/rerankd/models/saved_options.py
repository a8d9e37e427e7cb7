"""Options that sentence-transformers saves with a cross-encoder: its maximum length and its activation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankd._common.json_parsing import parse_json

SENTENCE_TRANSFORMERS = "config_sentence_transformers.json"
TOKENIZER, TRANSFORMER = "tokenizer_config.json", "sentence_bert_config.json"
OPTION_FILES = (SENTENCE_TRANSFORMERS, TRANSFORMER)
MIN_LENGTH = 8  # a shorter pair holds no text of its own beside the special tokens
_LEGACY = "sbert_ce_default_activation_function"


def saved_max_length(folder: Path) -> int | None:
    """Return the longest pair that a checkpoint was saved with, in tokens; None if it was saved with none.

    As sentence-transformers reads it: `max_seq_length` of the transformer module, else `model_max_length` of the
    tokenizer.

    Args:
        folder: folder of the checkpoint.
    """
    for name, key in ((TRANSFORMER, "max_seq_length"), (TOKENIZER, "model_max_length")):
        value = _read(folder / name).get(key)
        # transformers writes 1e30 for a tokenizer without a limit.
        if isinstance(value, int | float) and not isinstance(value, bool) and MIN_LENGTH <= value < 1e9:
            return int(value)
    return None


def saved_activation(folder: Path) -> str:
    """Return the name of the activation class that a checkpoint was saved with; empty for none.

    Args:
        folder: folder of the checkpoint.
    """
    config = _read(folder / "config.json")
    nested = config.get("sentence_transformers")
    for value in (
        _read(folder / SENTENCE_TRANSFORMERS).get("activation_fn"),
        config.get(_LEGACY),
        nested.get("activation_fn") if isinstance(nested, dict) else None,
    ):
        if isinstance(value, str) and value:
            return value.rpartition(".")[2]
    return ""


def _read(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file; an empty one if there is none, since other files say what is wrong."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
