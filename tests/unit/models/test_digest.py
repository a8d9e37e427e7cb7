from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from rerankd.models.digest import content_digest, content_of, remembered_digest
from rerankd.models.files import load_model


def test_the_formula_is_that_of_stored_records() -> None:
    assert content_of({"b": "2", "a": "1"}) == hashlib.sha256(b'[["a", "1"], ["b", "2"]]').hexdigest()
    assert len({content_of(files) for files in ({}, {"a": "1"}, {"a": "2"}, {"b": "1"})}) == 4


def test_a_manifest_without_hashes_gives_the_digest_of_the_files(tmp_path: Path) -> None:
    files = load_model("mini")
    assert content_digest(files) == content_of(files.manifest.files)
    (tmp_path / "config.json").write_bytes(b"{}")
    (tmp_path / "rerankd.json").write_bytes(b"not part of it")
    (tmp_path / "README.md").write_bytes(b"nor this")
    bare = dataclasses.replace(files, folder=tmp_path, manifest=dataclasses.replace(files.manifest, files={}))
    assert content_digest(bare) == content_of({"config.json": hashlib.sha256(b"{}").hexdigest()})


def test_a_folder_that_did_not_change_is_read_once(xlmr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(xlmr, tmp_path / "a")
    shutil.copytree(xlmr, tmp_path / "b")
    memory = tmp_path / "made" / "digests.json"
    first, copy = (load_model(str(tmp_path / name)) for name in "ab")
    digest = remembered_digest(first, memory)
    assert digest == content_digest(first) == remembered_digest(copy, memory)
    read: list[Path] = []

    def watched(path: Path) -> str:
        read.append(path)
        return "0"

    monkeypatch.setattr("rerankd.models.digest.sha256", watched)
    assert remembered_digest(first, memory) == digest
    assert not read
    (tmp_path / "a" / "config.json").write_text((tmp_path / "a" / "config.json").read_text() + " ")
    assert remembered_digest(first, memory) != digest
    assert read


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x": 5}', b"\xff"])
def test_a_memory_that_is_damaged_is_written_again(xlmr: Path, tmp_path: Path, content: bytes) -> None:
    memory, files = tmp_path / "digests.json", load_model(str(xlmr))
    memory.write_bytes(content)
    assert remembered_digest(files, memory) == content_digest(files)
    assert str(files.folder.resolve()) in json.loads(memory.read_bytes())
