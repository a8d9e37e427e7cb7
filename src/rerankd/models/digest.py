"""Digest of a model's files, independent of machine and backend."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rerankd._common.files import write_atomic
from rerankd._common.json_parsing import parse_json
from rerankd.models.files import ModelFiles
from rerankd.models.manifest import FILE_NAME, sha256
from rerankd.models.modules import module_files

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
        hashes |= {name: sha256(path) for name, path in module_files(files.folder).items() if path.suffix in _SUFFIXES}
    return content_of(hashes)


def remembered_digest(files: ModelFiles, memory: Path) -> str:
    """Return `content_digest`; a folder that did not change since the last call is not read again.

    Args:
        files: a checked model folder.
        memory: JSON file with the digests of folders by path, made if it can be written.
    """
    folder = str(files.folder.resolve())
    states = [
        [path.name, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        for path in sorted(files.folder.iterdir())
        if (state := path.stat()) and path.suffix in _SUFFIXES
    ]
    digests = _read_digests(memory)
    match digests.get(folder):
        case {"files": known, "digest": str(digest)} if known == states:
            return digest
    digest = content_digest(files)
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        content = _read_digests(memory) | {folder: {"files": states, "digest": digest}}
        write_atomic(memory, json.dumps(content).encode())
    return digest


def _read_digests(memory: Path) -> dict[str, Any]:
    try:
        content = parse_json(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def content_of(hashes: Mapping[str, str]) -> str:
    """Return the SHA-256 of the names and SHA-256 hashes of files, in any order.

    Example:
        >>> content_of({"b": "2", "a": "1"}) == content_of({"a": "1", "b": "2"})
        True
    """
    return hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()
