from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rerankd.errors import CorruptModelError
from rerankd.models.digest import content_of
from rerankd.registry.cache import Cache, LastKnown
from rerankd.registry.version import ModelVersion

CONTENT = {"a.json": b"one", "b.onnx": b"two two"}
FILES = {name: hashlib.sha256(text).hexdigest() for name, text in CONTENT.items()}
VERSION = ModelVersion(
    "med", 3, content_of(FILES), FILES, {name: len(text) for name, text in CONTENT.items()}, "run", 1.0
)


def source(tmp_path: Path, **changes: bytes) -> Callable[[str, Path], Path]:
    def get(name: str, folder: Path) -> Path:
        (folder / "model").mkdir(exist_ok=True)
        path = folder / "model" / name
        path.write_bytes(changes.get(name.partition(".")[0], CONTENT[name]))
        return path

    return get


def test_a_copy_is_made_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    folder = cache.fetch(VERSION, source(tmp_path))
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == CONTENT

    def never(name: str, folder: Path) -> Path:
        raise AssertionError

    assert cache.fetch(VERSION, never) == folder
    with pytest.raises(AssertionError):
        cache.fetch(VERSION, never, anew=True)
    assert cache.holds(VERSION)


@pytest.mark.parametrize("wrong", [b"two twx", b"two", b"two two two"])
def test_what_is_not_what_was_registered_is_not_kept(tmp_path: Path, wrong: bytes) -> None:
    with pytest.raises(CorruptModelError, match="b.onnx"):
        Cache(tmp_path).fetch(VERSION, source(tmp_path, b=wrong))
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    folder = cache.fetch(VERSION, source(tmp_path))
    (folder / "b.onnx").write_bytes(b"xxx xxx")
    assert not cache.holds(VERSION)
    assert cache.fetch(VERSION, source(tmp_path)) == folder
    assert cache.holds(VERSION)
    assert [path.name for path in tmp_path.iterdir()] == [VERSION.content]


def test_old_copies_go_but_for_the_newest(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    old = time.time() - 30 * 86_400
    for number in range(8):
        path = tmp_path / f"{number:064d}"
        path.mkdir()
        os.utime(path, (old + number, old + number))
    broken = tmp_path / ".fetch-broken"
    broken.mkdir()
    os.utime(broken, (old, old))
    cache.fetch(VERSION, source(tmp_path))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {VERSION.content, *(f"{number:064d}" for number in range(2, 8))}


def test_what_is_known_is_kept_by_registry(tmp_path: Path) -> None:
    known = LastKnown(tmp_path, "http://one")
    assert known.load("med", "champion") is None
    known.save(VERSION, "champion")
    version = known.load("med", "champion")
    assert version is not None
    assert (version.version, version.content, version.name) == (3, VERSION.content, "med")
    known.save(replace(VERSION, version=4, approved="yes"), "champion")
    again = known.load("med", "champion")
    assert again is not None
    assert (again.version, again.approved) == (4, "yes")
    assert LastKnown(tmp_path, "http://two").load("med", "champion") is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"record": "{}"}'])
def test_what_cannot_be_read_is_not_known(tmp_path: Path, text: str) -> None:
    known = LastKnown(tmp_path, "x")
    known.save(VERSION, "champion")
    [path] = tmp_path.glob("known-*/*")
    path.write_text(text)
    assert known.load("med", "champion") is None
    shutil.rmtree(path.parent)
    known.save(VERSION, "champion")
    assert known.load("med", "champion") is not None
