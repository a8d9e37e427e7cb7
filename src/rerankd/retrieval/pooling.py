"""Pooling of a text encoder, as sentence-transformers saves it."""

from __future__ import annotations

from pathlib import Path

from rerankd._common.json_parsing import parse_json
from rerankd.compiler.encoder_graph import Pooling
from rerankd.errors import CorruptModelError, UnsupportedModelError


def read_pooling(folder: Path) -> Pooling:
    """Return the pooling of a sentence-transformers folder; `mean` where it has no pooling configuration.

    Raises:
        UnsupportedModelError: the model uses a pooling other than mean or [CLS].
    """
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    try:
        config = parse_json(path.read_bytes())
    except ValueError as error:
        raise CorruptModelError(f"{path} is not valid JSON ({error}).", hint="Fetch the model again.") from error
    config = config if isinstance(config, dict) else {}
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    known: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise UnsupportedModelError(
            f"{folder}: the pooling {', '.join(modes) or 'none'} is not supported.",
            hint="Use a model with mean or cls pooling.",
        )
    return known[modes[0]]
