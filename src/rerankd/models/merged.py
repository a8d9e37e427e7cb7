"""Merged weights of an adapter and its base model, for what reads a folder or a torch model as a whole."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from rerankd.models.adapters import CONFIG, AdaptedCheckpoint
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import FILE_NAME

_SETTINGS = (".json", ".jinja", ".model", ".txt")


def write_merged(files: ModelFiles, folder: Path) -> ModelFiles:
    """Write an adapter and its base model as one checkpoint, in float32, with the tokenizer and the licence.

    Args:
        files: files of an adapter.
        folder: folder that exists; files of other names stay.

    Returns:
        The files of the checkpoint.
    """
    from safetensors.numpy import save_file

    checkpoint = files.checkpoint()
    assert isinstance(checkpoint, AdaptedCheckpoint)  # noqa: S101  a programming error, not an input error
    save_file(dict(checkpoint.merged()), folder / "model.safetensors", metadata={"format": "pt"})
    for path in settings_of(files):
        shutil.copyfile(path, folder / path.name)
    return ModelFiles(files.reference, folder, replace(files.manifest, precision="fp32"))


def settings_of(files: ModelFiles) -> list[Path]:
    """Return the settings, the tokenizer and the licence of a model; those of an adapter come before its base's."""
    folders = [files.folder, *([files.base.folder] if files.base else [])]
    paths: dict[str, Path] = {}
    for path in (path for folder in folders for path in sorted(folder.iterdir())):
        is_setting = path.suffix in _SETTINGS and path.name not in (CONFIG, FILE_NAME)
        if path.is_file() and ((is_setting and not path.name.endswith(".index.json")) or path.name == "LICENSE"):
            paths.setdefault(path.name, path)
    if files.base is not None:
        paths["config.json"] = files.base.folder / "config.json"
    return list(paths.values())


def apply_adapter(model: Any, files: ModelFiles) -> None:
    """Write the merged weights of an adapter into a torch model of its base; do nothing without an adapter.

    Args:
        model: a torch module with the weights of `files.weights_folder`.
        files: files of the model.
    """
    if files.base is None:
        return
    checkpoint = files.checkpoint()
    assert isinstance(checkpoint, AdaptedCheckpoint)  # noqa: S101
    weights = model.state_dict()
    for name, values in checkpoint.changed():
        weights[name].copy_(weights[name].new_tensor(values))
    # peft would name the base in adapters that are trained on the merged weights.
    model.name_or_path = ""
