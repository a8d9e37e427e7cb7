"""`rerankd keys` as people start it."""

from __future__ import annotations

import json
import os
import pty
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rerankd.server.auth.key_file import read_keys
from rerankd.server.auth.key_ring import KeyRing
from tests.program import rerankd

PROGRAM = [sys.executable, "-m", "rerankd", "keys"]


class Keys:
    """`rerankd keys` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, **environment: str) -> tuple[int, list[Any], str]:
        completed = rerankd("keys", *arguments, folder=self.folder, env=environment)
        return completed.returncode, [json.loads(line) for line in completed.stdout.splitlines()], completed.stderr

    def on_terminal(self, *arguments: str) -> str:
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            stdout=follower,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "COLUMNS": "140", "TERM": "xterm"},
        )
        os.close(follower)
        seen = b""
        try:
            while part := os.read(leader, 65536):
                seen += part
        except OSError:  # the other side is closed
            pass
        assert process.wait(timeout=60) == 0
        os.close(leader)
        return seen.decode()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def test_add_list_revoke(keys: Keys) -> None:
    code, rows, notices = keys("add", "搜索", "--admin", "--requests-per-minute", "60", "--tokens-per-day", "1000")
    assert code == 0, notices
    clear = rows[0]["key"]
    path = keys.folder / "rerankd-keys.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert clear not in notices
    assert clear not in path.read_text()
    assert f'api_keys_file = "{path}"' in notices
    assert f"RERANKD_API_KEYS_FILE={path}" in notices
    entry = KeyRing([], path).find(clear)
    assert entry
    assert (entry.name, entry.admin, entry.requests_per_minute, entry.tokens_per_day) == ("搜索", True, 60, 1000)

    assert keys("add", "other")[0] == 0
    code, rows, _ = keys("list")
    assert code == 0
    assert [row["name"] for row in rows] == ["搜索", "other"]
    assert rows[0]["created"].endswith("+00:00")
    assert entry.digest not in str(rows)

    code, rows, notices = keys("revoke", "搜索")
    assert (code, rows[0]["id"]) == (0, entry.id)
    assert f"Key {entry.id} (搜索) is revoked." in notices
    assert [key.name for key in read_keys(path)] == ["other"]
    assert keys("revoke", read_keys(path)[0].id)[0] == 0
    assert read_keys(path) == []


def test_the_file_of_the_settings(keys: Keys) -> None:
    (keys.folder / "rerankd.toml").write_text('api_keys_file = "team.json"\n')
    code, _, notices = keys("add", "team")
    assert (code, "api_keys_file" in notices) == (0, False)
    assert len(read_keys(keys.folder / "team.json")) == 1
    assert keys("add", "team", RERANKD_API_KEYS_FILE="env.json")[0] == 0
    assert len(read_keys(keys.folder / "env.json")) == 1
    assert keys("list", "--file", "env.json")[1][0]["name"] == "team"


def test_on_a_terminal(keys: Keys) -> None:
    printed = keys.on_terminal("add", "team", "--tokens-per-minute", "77")
    assert re.fullmatch(r"rk-[\w-]{43}\r\n", printed)
    shown = keys.on_terminal("list")
    for word in ("tokens/min", "77", "team"):
        assert word in shown


def test_mistakes(keys: Keys) -> None:
    code, rows, errors = keys("list")
    assert (code, rows) == (2, [])
    assert "rerankd-keys.json does not exist. Create it: rerankd keys add NAME" in errors
    assert keys("add", "team", "--requests-per-day", "0")[0] == 2
    assert "printable text" in keys("add", " ")[2]
    assert not (keys.folder / "rerankd-keys.json").exists()
    assert keys("add", "team")[0] == 0
    code, rows, errors = keys("add", "team")
    assert (code, rows) == (2, [])
    assert "There is a key named 'team'" in errors
    assert "rerankd keys rotate" in errors
    assert keys("rotate", "team", "--keep", "24h")[0] == 0
    ids = [row["id"] for row in keys("list")[1]]
    code, _, errors = keys("revoke", "team")
    assert code == 2
    assert f"2 keys have the name 'team': {ids[0]}, {ids[1]}. Name one by its id." in errors
    assert "neither a duration nor a date" in keys("add", "other", "--expires", "soon")[2]
    code, _, errors = keys("revoke", "nobody")
    assert (code, "has the id or name 'nobody'" in errors) == (2, True)
    (keys.folder / "rerankd-keys.json").write_text("{")
    code, rows, errors = keys("add", "team")
    assert (code, rows) == (2, [])
    assert "is not JSON" in errors
    assert "Traceback" not in errors
    assert (keys.folder / "rerankd-keys.json").read_text() == "{"
