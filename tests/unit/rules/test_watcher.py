from __future__ import annotations

import os
from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.rules.watcher import LiveRules, rules_of


def write(path: Path, content: str) -> None:
    """As good tools do: another file moved into place."""
    other = path.with_suffix(".new")
    other.write_text(content)
    other.replace(path)


def one(name: str) -> str:
    return f"rules: [{{name: {name}, documents: {{terms: [x]}}, boost: 1}}]"


def test_a_good_file_takes_over_and_a_bad_one_never_does(tmp_path: Path) -> None:
    path, told = tmp_path / "rules.yaml", list[bool]()
    write(path, one("a"))
    live = LiveRules(path, changed=told.append)
    current = rules_of(live)
    first = current()
    assert not live.look()
    write(path, one("b"))
    assert live.look()
    assert current().rules[0].name == "b"
    assert first.rules[0].name == "a"
    good = current()
    for bad in ("rules: 7", "rules: [", one("c").replace("boost", "bost"), ""):
        write(path, bad)
        assert not live.look()
        assert current() is good
        assert live.fault
    path.unlink()
    assert not live.look()
    assert current() is good
    assert "cannot be read" in live.fault
    write(path, one("d"))
    assert live.look()
    assert not live.fault
    assert current().rules[0].name == "d"
    assert told == [True, *[False] * 5, True]


def test_a_file_that_is_being_written_is_left_to_rest(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(one("a"))
    live = LiveRules(path, seconds=60)
    path.write_text(one("b") + "\n")
    assert not live.look()
    assert live.current.rules[0].name == "a"
    past = path.stat().st_mtime - 61
    os.utime(path, (past, past))
    assert live.look()
    assert live.current.rules[0].name == "b"


def test_the_first_file_has_to_be_good(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError):
        LiveRules(tmp_path / "none.yaml")


def test_no_file_is_no_rules() -> None:
    assert len(rules_of(None)()) == 0


def test_the_watcher_ends(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(one("a"))
    live = LiveRules(path, seconds=0.01)
    live.start()
    live.start()
    live.close()
    live.close()
