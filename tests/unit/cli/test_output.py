from __future__ import annotations

import json

import pytest

from rerankd.cli.output import bar, cell, movement, write_rows


def test_rows_are_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows([{"a": "熊猫"}, {"a": "\ud800"}])
    first, second = capsys.readouterr().out.splitlines()
    assert first == '{"a": "熊猫"}'
    assert json.loads(second) == {"a": "\ud800"}


def test_cells_hold_nothing_that_a_terminal_obeys() -> None:
    assert cell("a\x1b[31m\n b[bold]").plain == "a�[31m b[bold]"
    assert len(cell("x" * 9000).plain) == 400


def test_bars_and_movements() -> None:
    assert bar(0.5, 4).plain == "██░░"
    assert bar(7, 2).plain == "██"
    assert [movement(*positions).plain for positions in ((1, 1), (5, 2), (2, 5))] == ["1 =", "5 ▲", "2 ▼"]
