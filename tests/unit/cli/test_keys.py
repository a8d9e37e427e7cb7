from __future__ import annotations

import json
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rerankd.cli.keys import add, app
from rerankd.errors import InvalidRequestError
from rerankd.server.auth.key_file import exclusive_access, read_keys, write_keys
from rerankd.server.auth.key_ring import KeyRing
from rerankd.server.auth.keys import ApiKey, new_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def run(path: Path, *arguments: str) -> list[Any]:
    result = CliRunner().invoke(app, [*arguments, "--file", str(path), "--json"])
    if result.exception:
        raise result.exception
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_a_second_key_of_the_same_name_is_refused_and_the_first_stays(path: Path) -> None:
    (first,) = run(path, "add", "team", "--tokens-per-day", "100")
    with pytest.raises(InvalidRequestError, match="keys rotate"):
        run(path, "add", "team")
    (kept,) = read_keys(path)
    assert (kept.id, kept.tokens_per_day) == (first["id"], 100)


def test_a_rotated_key_keeps_tenant_rights_and_limits(path: Path) -> None:
    (old,) = run(path, "add", "team", "--requests-per-minute", "7", "--admin")
    (new,) = run(path, "rotate", "team")
    (newest,) = run(path, "rotate", new["id"])
    ring = KeyRing([], path)
    assert ring.find(old["key"]) is None
    assert ring.find(new["key"]) is None
    key = ring.find(newest["key"])
    assert key is not None
    assert (key.tenant_id, key.name, key.admin, key.requests_per_minute) == (old["id"], "team", True, 7)


def test_a_rotated_key_can_stay_for_a_while(path: Path) -> None:
    (old,) = run(path, "add", "team")
    run(path, "rotate", "team", "--keep", "24h")
    kept, new = read_keys(path)
    assert kept.id == old["id"]
    assert kept.tenant_id == new.tenant_id
    now = time.time()
    assert not kept.expired(now)
    assert kept.expired(now + 25 * 3600)
    assert not new.expired(now + 10**9)
    run(path, "rotate", "team")  # the name means the key in force
    assert next(key.id for key in read_keys(path)) == old["id"]
    run(path, "add", "other")
    (again,) = run(path, "rotate", old["id"])  # an id means that key, also one that expires
    assert again["tenant"] == old["id"]
    assert [key.name for key in read_keys(path)].count("other") == 1


def test_a_rotated_key_expires_when_the_old_one_would_have(path: Path) -> None:
    (old,) = run(path, "add", "team", "--expires", "30d")
    (new,) = run(path, "rotate", "team", "--keep", "24h")
    assert new["expires"] == old["expires"]
    (newest,) = run(path, "rotate", "team")  # the name means the key that expires last
    assert newest["expires"] == old["expires"]
    assert [key.id for key in read_keys(path)] == [old["id"], newest["id"]]


@pytest.mark.parametrize(("when", "expires"), [("2999-01-01", "2999-01-01T00:00:00+00:00"), ("never", "")])
def test_rotating_changes_the_expiry_only_where_that_is_asked_for(path: Path, when: str, expires: str) -> None:
    run(path, "add", "team", "--expires", "30d")
    (new,) = run(path, "rotate", "team", "--expires", when)
    assert new["expires"] == expires


def test_the_old_key_is_not_kept_beyond_its_own_expiry(path: Path) -> None:
    (old,) = run(path, "add", "team", "--expires", "2d")
    run(path, "rotate", "team", "--keep", "8w", "--expires", "never")
    kept, _ = read_keys(path)
    assert (kept.id, kept.expires) == (old["id"], old["expires"])


def test_the_expiry_of_the_new_key_is_printed(path: Path) -> None:
    run(path, "add", "team", "--expires", "2999-01-01")
    result = CliRunner().invoke(app, ["rotate", "team", "--file", str(path)])
    assert "It is refused from 2999-01-01T00:00:00+00:00 on." in result.stderr


def test_an_expired_key_is_rotated_only_with_a_term_for_the_new_one(path: Path) -> None:
    _, key = new_key("team", expires="2020-01-01T00:00:00+00:00")
    write_keys(path, [key])
    with pytest.raises(InvalidRequestError, match=r"expired at 2020-01-01T00:00:00\+00:00\."):
        run(path, "rotate", "team")
    assert read_keys(path) == [key]
    (new,) = run(path, "rotate", "team", "--expires", "30d")
    assert [kept.id for kept in read_keys(path)] == [new["id"]]


def test_one_tenant_with_several_keys_shares_its_limits(path: Path) -> None:
    (one,) = run(path, "add", "team", "--tokens-per-minute", "50")
    (two,) = run(path, "add", "team-notebook", "--tenant", "team", "--expires", "30d")
    (three,) = run(path, "add", "team-batch", "--tenant", two["id"], "--tokens-per-minute", "10")
    assert two["tenant"] == three["tenant"] == one["id"]
    assert [key.tokens_per_minute for key in read_keys(path)] == [50, 50, 10]
    with pytest.raises(InvalidRequestError, match="nobody"):
        run(path, "add", "x", "--tenant", "nobody")


@pytest.mark.parametrize(
    ("when", "days"),
    [("12h", 0.5), ("30d", 30.0), ("2w", 14.0), ("2999-01-01", None), ("2999-01-01T08:00:00+08:00", None)],
)
def test_when_a_key_expires(path: Path, when: str, days: float | None) -> None:
    run(path, "add", "team", "--expires", when)
    (key,) = read_keys(path)
    if days is None:
        assert key.expires == "2999-01-01T00:00:00+00:00"
    else:
        assert not key.expired(time.time() + days * 86_400 - 60)
        assert key.expired(time.time() + days * 86_400 + 60)


@pytest.mark.parametrize("when", ["soon", "30", "", "-3d", "2027-13-01"])
def test_what_is_no_time_is_refused(path: Path, when: str) -> None:
    with pytest.raises(InvalidRequestError, match="neither a duration nor a date"):
        run(path, "add", "team", "--expires", when)
    assert not path.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
@pytest.mark.parametrize(("mode", "kept"), [(0o600, 0o600), (0o640, 0o640), (0o644, 0o640), (0o660, 0o640)])
def test_the_group_that_could_read_the_file_still_can(path: Path, mode: int, kept: int) -> None:
    run(path, "add", "one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(mode)
    for arguments in (("add", "two"), ("rotate", "one"), ("revoke", "two")):
        run(path, *arguments)
        assert stat.S_IMODE(path.stat().st_mode) == kept


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permission bits")
def test_a_new_file_in_a_folder_that_passes_its_group_on_is_for_the_group(path: Path) -> None:
    path.parent.chmod(0o2750)
    run(path, "add", "one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("when", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_date_beyond_the_calendar_is_refused(path: Path, when: str) -> None:
    with pytest.raises(InvalidRequestError, match="out of range"):
        run(path, "add", "team", "--expires", when)
    assert not path.exists()


@pytest.mark.parametrize("when", ["2020-01-01", "0h"])
def test_a_new_key_that_has_expired_already_is_refused(path: Path, when: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not in the future"):
        run(path, "add", "team", "--expires", when)
    run(path, "add", "team")
    with pytest.raises(InvalidRequestError, match="is not in the future"):
        run(path, "rotate", "team", "--expires", when)
    assert len(read_keys(path)) == 1


def test_keys_that_are_added_at_the_same_time_are_all_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = threading.Barrier(4)

    def read_together(file: Path) -> list[ApiKey]:
        keys = read_keys(file)
        with suppress(threading.BrokenBarrierError):  # without a lock all have read before the first one writes
            reading.wait(0.2)
        return keys

    run(path, "add", "first")
    monkeypatch.setattr("rerankd.cli.keys.read_keys", read_together)
    options: dict[str, Any] = {"admin": False, "metrics": False, "file": path, "as_json": True}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: add(name, **options), ["a", "b", "c", "d"]))
    assert {key.name for key in read_keys(path)} == {"first", "a", "b", "c", "d"}


def test_a_process_that_keeps_the_file_is_waited_for_in_vain(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerankd.server.auth.key_file.LOCK_SECONDS", 0.01)
    with exclusive_access(path), pytest.raises(InvalidRequestError, match="Another process is changing"):
        run(path, "add", "team")


def test_the_best_priority_passes_to_other_keys_of_the_tenant(path: Path) -> None:
    (first,) = run(path, "add", "batch", "--best-priority", "500")
    (second,) = run(path, "add", "notebook", "--tenant", "batch")
    (third,) = run(path, "add", "night", "--tenant", "batch", "--best-priority", "900")
    (rotated,) = run(path, "rotate", "batch")
    assert [row["best_priority"] for row in (first, second, third, rotated)] == [500, 500, 900, 500]
    assert run(path, "add", "any")[0]["best_priority"] == 0
