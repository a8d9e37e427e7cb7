from __future__ import annotations

import pytest
from rich.table import Table

from rerankd._common.terminal import TerminalConsole

REQUEST = "0123456789abcdef0123456789abcdef"


def traces() -> Table:
    names = ("id", "request", "time", "tenant", "model", "docs", "top before", "score", "margin", "query")
    table = Table(*names)
    cells = ("2026-01-01 12:00:00", "search-team", "mini", "50", "5 ▲", "0.812", "1.250")
    table.add_row("1", REQUEST, *cells, "how do I reset the password of my account?")
    return table


def printed(table: Table, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    TerminalConsole().print(table)
    return capsys.readouterr().out


def test_a_wide_terminal_shows_everything(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = printed(traces(), 200, capsys, monkeypatch)
    assert all(str(column.header) in text for column in traces().columns)
    assert "left out" not in text


@pytest.mark.parametrize("width", [80, 100, 120])
def test_ids_are_whole_and_the_least_important_columns_go(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(traces(), width, capsys, monkeypatch)
    assert max(map(len, text.splitlines())) <= width
    assert REQUEST in text
    for whole in ("0.812", "score", "query", "how do I"):
        assert whole in text
    assert "left out: docs" in text.replace("top before, ", "") or "left out: top before" in text


def test_the_table_that_was_passed_is_not_changed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = traces()
    printed(table, 60, capsys, monkeypatch)
    assert len(table.columns) == 10
    assert table.caption is None
