from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

from rerankd.models.digest import content_digest, content_of
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
