from __future__ import annotations

import os
from pathlib import Path

import pytest

from rerankd.errors import InvalidInputFileError
from rerankd.rules.watcher import RulesWatcher, rules_provider


def write(path: Path, content: str) -> None:
    """Move a new file into place, as good tools do."""
    other = path.with_suffix(".new")
    other.write_text(content)
    other.replace(path)


def rule(name: str) -> str:
    return f"rules: [{{name: {name}, documents: {{terms: [x]}}, boost: 1}}]"


def test_a_good_file_takes_over_and_a_bad_one_never_does(tmp_path: Path) -> None:
    path, reloads = tmp_path / "rules.yaml", list[bool]()
    write(path, rule("a"))
    watcher = RulesWatcher(path, on_reload=reloads.append)
    current = rules_provider(watcher)
    first = current()
    assert not watcher.poll()
    write(path, rule("b"))
    assert watcher.poll()
    assert current().rules[0].name == "b"
    assert first.rules[0].name == "a"
    good = current()
    for bad in ("rules: 7", "rules: [", rule("c").replace("boost", "bost"), ""):
        write(path, bad)
        assert not watcher.poll()
        assert current() is good
        assert watcher.error
    path.unlink()
    assert not watcher.poll()
    assert current() is good
    assert "cannot be read" in watcher.error
    write(path, rule("d"))
    assert watcher.poll()
    assert not watcher.error
    assert current().rules[0].name == "d"
    assert reloads == [True, *[False] * 5, True]


def test_a_file_that_is_being_written_is_left_to_rest(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(rule("a"))
    watcher = RulesWatcher(path, interval=60)
    path.write_text(rule("b") + "\n")
    assert not watcher.poll()
    assert watcher.current.rules[0].name == "a"
    past = path.stat().st_mtime - 61
    os.utime(path, (past, past))
    assert watcher.poll()
    assert watcher.current.rules[0].name == "b"


def test_the_first_file_has_to_be_good(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputFileError):
        RulesWatcher(tmp_path / "none.yaml")


def test_no_file_is_no_rules() -> None:
    assert len(rules_provider(None)()) == 0


def test_the_watcher_ends(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(rule("a"))
    watcher = RulesWatcher(path, interval=0.01)
    watcher.start()
    watcher.start()
    watcher.close()
    watcher.close()
