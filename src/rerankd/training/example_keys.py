"""Keys of training examples: texts under the names of other formats are named, since they would not be read."""

from __future__ import annotations

from typing import Any

from rerankd.errors import InvalidInputFileError

_OTHER_NAMES = {
    "query": ("anchor", "question", "queries", "sentence1"),
    "pos": ("positive", "positives", "pos_passages", "positive_passages", "positive_ctxs", "document", "sentence2"),
    "neg": ("negative", "negatives", "neg_passages", "negative_passages", "hard_negatives", "negative_ctxs"),
}


def check_keys(row: dict[str, Any], location: str) -> None:
    """Check that no text stands under a name of another format, where it would not be read.

    Raises:
        InvalidInputFileError: a key of another format, or no `pos`.
    """
    for name, others in _OTHER_NAMES.items():
        other = next((key for key in row if key in others or key.rstrip("_0123456789") in others), None)
        if name not in row and other is not None:
            shown = '"pos": ["text", ...]' if name == "pos" else f'"{name}": ' + ("[...]" if name == "neg" else '"..."')
            raise InvalidInputFileError(f"{location}: the key {other!r} is not read.", hint=f"Write {shown} instead.")
    if "pos" not in row and "query" in row:
        keys = ", ".join(map(repr, row))[:200]
        raise InvalidInputFileError(f"{location}: there is no 'pos' (keys: {keys}).", hint='Write "pos": ["text"].')
