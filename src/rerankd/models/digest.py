"""Digest of a model's files, independent of machine and backend."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from rerankd.models.files import ModelFiles
from rerankd.models.manifest import FILE_NAME, sha256

_SUFFIXES = (".json", ".onnx", ".data", ".safetensors", ".txt", ".model")


def content_digest(files: ModelFiles) -> str:
    """Return the SHA-256 of the names and SHA-256 hashes of a model's files.

    The hashes come from the manifest if it lists them. Otherwise weights, tokenizer and configuration are read. The
    digest of an adapter depends on its base model too.
    """
    if files.base is not None:
        return content_of({"adapter": _folder_digest(files), "base": content_digest(files.base)})
    return _folder_digest(files)


def _folder_digest(files: ModelFiles) -> str:
    hashes = dict(files.manifest.files)
    if not hashes:
        paths = sorted(path for path in files.folder.iterdir() if path.is_file() and path.suffix in _SUFFIXES)
        hashes = {path.name: sha256(path) for path in paths if path.name != FILE_NAME}
    return content_of(hashes)


def content_of(hashes: Mapping[str, str]) -> str:
    """Return the SHA-256 of the names and SHA-256 hashes of files, in any order.

    Example:
        >>> content_of({"b": "2", "a": "1"}) == content_of({"a": "1", "b": "2"})
        True
    """
    return hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()
