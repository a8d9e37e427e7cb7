from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.server.auth.key_file import read_keys, write_keys
from rerankd.server.auth.key_ring import KeyRing
from rerankd.server.auth.keys import ApiKey, new_key, presented_key

DIGEST = "ab" * 32


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_new_key_is_random_and_keeps_only_its_hash() -> None:
    clear, key = new_key("team", admin=True, tokens_per_day=7)
    other, _ = new_key("team")
    assert clear != other
    assert clear.startswith("rk-")
    assert len(clear) == 46
    assert key.digest == hashlib.sha256(clear.encode()).hexdigest()
    assert (key.name, key.admin, key.tokens_per_day, key.requests_per_day) == ("team", True, 7, None)
    assert clear not in repr(dataclasses.asdict(key))
    assert key.digest not in repr(key)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "9"])
def test_limits_are_positive_whole_numbers(limit: Any) -> None:
    with pytest.raises(InvalidRequestError, match="tokens_per_minute of key .* must be a positive whole number"):
        new_key("team", tokens_per_minute=limit)


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", 7])
def test_names_can_be_printed(name: Any) -> None:
    with pytest.raises(InvalidRequestError, match="printable text"):
        new_key(name)


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
        ({"requests_per_day": 0}, "requests_per_day of key a must be a positive"),
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


def test_ring_of_settings_and_file(path: Path) -> None:
    clear, key = new_key("team")
    write_keys(path, [key])
    ring = KeyRing(["rk-in-settings", " rk-spaced ", "rk-in-settings"], path)
    digest = hashlib.sha256(b"rk-in-settings").hexdigest()
    assert ring.required
    assert ring.find(clear) == key
    assert ring.find("rk-in-settings") == ApiKey(digest[:8], "settings", digest)
    assert ring.find("rk-spaced")
    for guess in ("", clear[:-1], key.digest, "\udcff", "密钥"):
        assert ring.find(guess) is None


def test_a_key_in_both_places_has_the_limits_of_the_file(path: Path) -> None:
    clear, key = new_key("team", requests_per_minute=1)
    write_keys(path, [key])
    assert KeyRing([clear], path).find(clear) == key


def test_required(path: Path) -> None:
    assert not KeyRing([], None).required
    assert KeyRing(["k"], None).required
    write_keys(path, [])
    assert KeyRing([], path).required, "a file without keys lets nobody in"


def test_ring_refuses_what_cannot_work(path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="api_keys contains a blank key"):
        KeyRing(["rk-a", " "], None)
    with pytest.raises(InvalidInputFileError, match="does not exist"):
        KeyRing([], path)


def test_ring_compares_every_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(left: str, right: str) -> bool:
        compared.append(left)
        return left == right

    monkeypatch.setattr("hmac.compare_digest", compare)
    ring = KeyRing(["a", "b", "c"], None)
    assert ring.find("a")
    assert len(compared) == 3


def test_revoking_works_without_a_restart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clear, key), (other, added) = new_key("team"), new_key("new")
    write_keys(path, [key])
    clock = Clock()
    ring = KeyRing([], path, clock=clock)
    write_keys(path, [added])
    clock.now = 0.9
    assert ring.find(clear) == key
    clock.now = 1.0
    assert ring.find(clear) is None
    assert ring.find(other) == added
    monkeypatch.setattr("rerankd.server.auth.key_ring.read_keys", pytest.fail)
    clock.now = 9.0
    assert ring.find(other) == added, "a file that did not change is not read again"


def _delete(path: Path) -> None:
    path.unlink()


def _spoil(path: Path) -> None:
    path.write_text("{")


@pytest.mark.parametrize("damage", [_delete, _spoil])
def test_a_broken_file_keeps_the_old_keys(
    path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    clear, key = new_key("team")
    write_keys(path, [key])
    clock = Clock()
    ring = KeyRing([], path, clock=clock)
    damage(path)
    with caplog.at_level(logging.WARNING, logger="rerankd"):
        for second in range(1, 5):
            clock.now = second
            assert ring.find(clear) == key
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    write_keys(path, [])
    ring.reload()
    assert ring.find(clear) is None


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({}, None),
        ({"authorization": "Bearer rk-1"}, "rk-1"),
        ({"authorization": "bEARER   rk-1 "}, "rk-1"),
        ({"authorization": "rk-1"}, "rk-1"),
        ({"authorization": "Bearer"}, None),
        ({"authorization": "Bearer "}, None),
        ({"authorization": ""}, None),
        ({"authorization": basic("user:rk-1")}, "rk-1"),
        ({"authorization": basic("user:rk:1")}, "rk:1"),
        ({"authorization": basic("rk-1:")}, "rk-1"),
        ({"authorization": basic("rk-1")}, "rk-1"),
        ({"authorization": basic(":")}, None),
        ({"authorization": "Basic"}, None),
        ({"authorization": "Basic !!!"}, None),
        ({"authorization": "Basic é"}, None),
        ({"authorization": "Basic /w=="}, None),
        ({"x-api-key": " rk-1 "}, "rk-1"),
        ({"api-key": "rk-1"}, "rk-1"),
        ({"x-api-key": "  "}, None),
        ({"api-key": "c", "x-api-key": "b", "authorization": "Bearer a"}, "a"),
        ({"api-key": "c", "x-api-key": "b", "authorization": "Bearer"}, "b"),
        ({"api-key": "c", "x-api-key": ""}, "c"),
        ({"x-api-key": "k" * 4096}, "k" * 4096),
        ({"x-api-key": "k" * 4097}, None),
        ({"authorization": "Bearer " + "k" * 4096}, None),
        ({"X-API-Key": "names are lower case"}, None),
    ],
)
def test_presented_key(headers: dict[str, str], key: str | None) -> None:
    assert presented_key(headers) == key


@given(st.sampled_from(["", "Bearer ", "Basic "]), st.text())
def test_presented_key_never_raises(scheme: str, text: str) -> None:
    key = presented_key({"authorization": scheme + text})
    assert key is None or key
