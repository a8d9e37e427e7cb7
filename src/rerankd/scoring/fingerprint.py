"""Fingerprint: a hash that tells the scores of one model from those of another."""

from __future__ import annotations

import hashlib
import json

from rerankd.models.files import ModelFiles
from rerankd.models.modules import module_files
from rerankd.scoring.backend import Backend


def model_fingerprint(files: ModelFiles, backend: Backend) -> str:
    """Return a short hash that changes with the model's files and with the backend that computes them.

    Compiled models and models from the hub are identified by their content, so that instances agree; the files of a
    plain folder are identified by size and modification time.

    Args:
        files: a checked model folder.
        backend: backend that runs the model.

    Returns:
        16 hexadecimal digits.
    """
    return fingerprint_for(files, backend.name, backend.device, backend.precision)


def fingerprint_for(files: ModelFiles, backend: str, device: str, precision: str) -> str:
    """Return the fingerprint that a model has on a backend, without opening the backend."""
    text = json.dumps([files.manifest.name, content_of(files), backend, device, precision], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_of(files: ModelFiles) -> object:
    """Return what tells the content of a model's files from others, as a value for JSON; an adapter and its base."""
    return [_content(files), _content(files.base)] if files.base is not None else _content(files)


def _content(files: ModelFiles) -> object:
    content: object = dict(files.manifest.files) or files.manifest.revision
    if content:
        return content
    paths = sorted(path for path in files.folder.iterdir() if path.is_file())
    paths += module_files(files.folder).values()
    return [(path.relative_to(files.folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
