from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError, InvalidRequestError
from rerankd.server.auth.key_file import write_keys
from rerankd.server.auth.key_ring import KeyRing
from rerankd.server.auth.keys import ApiKey, new_key


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


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
