from __future__ import annotations

import dataclasses
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.server.auth.key_file import read_keys, write_keys
from rerankd.server.auth.keys import ApiKey, new_key

DIGEST = "ab" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_what_is_written_is_read(path: Path) -> None:
    keys = [new_key("搜索", requests_per_minute=3)[1], new_key("admin", admin=True)[1]]
    write_keys(path, keys)
    assert read_keys(path) == keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_keys(path, keys[:1])
    assert read_keys(path) == keys[:1]
    assert os.listdir(path.parent) == [path.name], "no temporary file stays"


def test_writing_keeps_links_and_owner(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_keys(path, [])
    link = tmp_path / "link.json"
    link.symlink_to(path)
    owners = []
    monkeypatch.setattr(os, "chown", lambda _, user, group: owners.append((user, group)))
    write_keys(link, [new_key("team")[1]])
    assert link.is_symlink()
    assert len(read_keys(path)) == 1
    assert owners == [(path.stat().st_uid, path.stat().st_gid)]


def test_a_write_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_keys(path, [])
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InvalidInputFileError, match="cannot be written .No space left"):
        write_keys(path, [new_key("team")[1]])
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_writing_into_a_missing_folder_names_the_fix(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match="cannot be written .* Create its folder"):
        write_keys(tmp_path / "gone" / "keys.json", [])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "must hold one object"),
        ('{"keys": {}}', "must hold one object"),
        ('{"keys": [], "more": 1}', "must hold one object"),
        ('{"keys": [7]}', "has no object at key 1"),
        ({"digest": None}, "has no digest at key 1"),
        ({"secret": "x"}, "has an unknown field 'secret' at key 1"),
        ({"digest": "AB"}, "cannot be used at key 1: The digest of key a must be 64 lower-case hex digits. Fix"),
        ({"id": ""}, "A key's id and name must be printable"),
        ({"admin": "yes"}, "admin must be true or false"),
        ({"created": 5}, "created must be text"),
        ({"requests_per_day": 0}, "requests_per_day of key a must be an integer"),
    ],
)
def test_broken_files_are_refused_with_path_and_fix(path: Path, text: str | dict[str, Any], sentence: str) -> None:
    if isinstance(text, dict):
        item = {"id": "a", "name": "team", "digest": DIGEST} | text
        text = json.dumps({"keys": [{name: value for name, value in item.items() if value is not None}]})
    path.write_text(text)
    with pytest.raises(InvalidInputFileError) as caught:
        read_keys(path)
    assert sentence in str(caught.value)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(("label", "second"), [("id", ("a", "cd" * 32)), ("digest", ("b", DIGEST))])
def test_duplicates_are_refused(path: Path, label: str, second: tuple[str, str]) -> None:
    keys = [ApiKey("a", "one", DIGEST), ApiKey(second[0], "two", second[1])]
    with pytest.raises(InvalidInputFileError, match=f"two keys with the same {label}"):
        write_keys(path, keys)
    assert not path.exists()
    path.write_text(json.dumps({"keys": [dataclasses.asdict(key) for key in keys]}))
    with pytest.raises(InvalidInputFileError, match=f"two keys with the same {label}"):
        read_keys(path)


def test_unreadable_files_name_the_fix(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError, match=f"does not exist. Create it: rerankd keys add NAME --file {path}"):
        read_keys(path)
    with pytest.raises(InvalidInputFileError, match="cannot be read .Is a directory"):
        read_keys(tmp_path)


def test_the_best_priority_is_kept_and_a_file_from_before_has_none(path: Path) -> None:
    keys = [new_key("batch", best_priority=500)[1], new_key("any")[1]]
    write_keys(path, keys)
    assert [key.best_priority for key in read_keys(path)] == [500, 0]
    stored = json.loads(path.read_text())["keys"]
    assert ["best_priority" in entry for entry in stored] == [True, False], "older versions read it"
